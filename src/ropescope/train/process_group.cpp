#include "ropescope/train/process_group.h"

#include <chrono>
#include <cstring>
#include <exception>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/train/collectives.h"
#include "ropescope/train/meeting.h"
#include "ropescope/train/pairwise_exchange.h"
#include "ropescope/train/peer_memory.h"
#include "ropescope/train/peer_watch.h"
#include "ropescope/train/process_backends.h"

namespace ropescope {

struct ProcessGroup::Impl {
  // One for what is trained, one for numbers on the CPU; the same one where that serves both.
  BackendPointer data, control;
  std::unique_ptr<PairwiseExchange> pairs;  // over the latter
  std::unique_ptr<Meeting> meeting;         // (left first)
  PeerWatch* watch = nullptr;               // the meeting's

  void wait(const c10::intrusive_ptr<c10d::Work>& work, const char* what) const {
    watch->begin_wait(what);
    try {
      work->wait();
    } catch (const std::exception& error) {
      throw EnvironmentError("{}", watch->explain(error.what()));
    }
    watch->end_wait();
  }

  // `start` gives c10d its work; what it uses is kept until the work is done.
  template <typename Start>
  Pending pending(const char* what, std::vector<at::Tensor> kept, Start start) const {
    c10::intrusive_ptr<c10d::Work> work;
    try {
      work = start();
    } catch (const std::exception& error) {
      throw EnvironmentError("{}", watch->explain(error.what()));
    }
    return [this, what, work, kept = std::move(kept)] { wait(work, what); };
  }

  Pending gather(const BackendPointer& backend, at::Tensor values, at::Tensor slice) const {
    return pending("an all-gather", {values, slice}, [&] {
      return backend == control ? pairs->all_gather(values, slice)
                                : backend->all_gather_single(values, slice);
    });
  }
};

ProcessGroup::ProcessGroup(const Launch& launch, Settings settings) : impl_(std::make_unique<Impl>()) {
  if (!gloo_is_built_in()) make_gloo_backend({}, 0, 1, settings.timeout);  // says what is missing
  impl_->meeting = std::make_unique<Meeting>(launch, settings);
  impl_->watch = &impl_->meeting->watch();
  // The watch ends the run at the timeout and names who is missing; c10d's own limit only comes after it.
  const std::chrono::milliseconds backstop = 2 * settings.timeout;
  const auto store = [&](const char* part) { return impl_->meeting->store(part); };
  try {
    impl_->control = make_gloo_backend(store("gloo"), launch.rank, launch.world, backstop);
    impl_->pairs = std::make_unique<PairwiseExchange>(impl_->control);
    impl_->data = settings.device.is_cuda()
                      ? make_nccl_backend(store("nccl"), launch.rank, launch.world, backstop)
                      : impl_->control;
    if (settings.read_peers && launch.world > 1 && impl_->data == impl_->control) {
      impl_->pairs->use(
          std::make_unique<PeerMemory>(static_cast<int>(launch.rank), static_cast<int>(launch.world),
                                       [this](const std::string& text) { return gather_texts(text); }));
    }
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw EnvironmentError("rank {}: {}", launch.rank, impl_->watch->explain(error.what()));
  }
}

ProcessGroup::~ProcessGroup() = default;

int64_t ProcessGroup::rank() const { return impl_->meeting->launch().rank; }
int64_t ProcessGroup::world() const { return impl_->meeting->launch().world; }

ProcessGroup::Pending ProcessGroup::all_reduce(at::Tensor values) const {
  return impl_->pending("an all-reduce", {values}, [&] {
    if (impl_->data == impl_->control) return impl_->pairs->all_reduce(values);
    std::vector<at::Tensor> tensors = {values};
    return impl_->data->allreduce(tensors);
  });
}

ProcessGroup::Pending ProcessGroup::reduce_scatter(at::Tensor slice, at::Tensor values) const {
  return impl_->pending("a reduce-scatter", {slice, values}, [&] {
    return impl_->data == impl_->control ? impl_->pairs->reduce_scatter(slice, values)
                                         : impl_->data->reduce_scatter_single(slice, values);
  });
}

ProcessGroup::Pending ProcessGroup::all_gather(at::Tensor values, at::Tensor slice) const {
  return impl_->gather(impl_->data, std::move(values), std::move(slice));
}

at::Tensor ProcessGroup::gather_numbers(const at::Tensor& numbers) const {
  const at::Tensor own = numbers.detach().cpu().contiguous().flatten();
  const at::Tensor all = at::empty({world() * own.numel()}, own.options());
  impl_->gather(impl_->control, all, own)();
  if (impl_->pairs->given_up()) throw EnvironmentError("rank {}: its exchanges were given up", rank());
  return all.view({world(), own.numel()});
}

std::vector<std::string> ProcessGroup::gather_texts(const std::string& text) const {
  const at::Tensor lengths = gather_numbers(at::tensor({static_cast<int64_t>(text.size())}, at::kLong));
  const auto longest = lengths.max().item<int64_t>();
  if (longest == 0) return std::vector<std::string>(static_cast<size_t>(world()));
  const at::Tensor bytes = at::zeros({longest}, at::kByte);
  std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  const at::Tensor all = gather_numbers(bytes);
  std::vector<std::string> texts;
  for (int64_t rank = 0; rank < world(); ++rank) {
    const auto* start = static_cast<const char*>(all[rank].const_data_ptr());
    texts.emplace_back(start, static_cast<size_t>(lengths[rank][0].item<int64_t>()));
  }
  return texts;
}

void ProcessGroup::barrier() const { gather_numbers(at::zeros({1}, at::kLong)); }

void ProcessGroup::give_up() { impl_->pairs->give_up(); }

void ProcessGroup::announce_failure(const std::string& message) { impl_->watch->announce_failure(message); }

}  // namespace ropescope
