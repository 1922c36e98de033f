#include "ropescope/train/process_group.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/train/collectives.h"
#include "ropescope/train/peer_watch.h"
#include "ropescope/train/process_backends.h"

namespace ropescope {

namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using StorePointer = c10::intrusive_ptr<c10d::Store>;

constexpr milliseconds kLook{20};

std::string own_name() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return fmt::format("process {} on {}", getpid(), host);
}

std::string place(const Launch& launch) { return fmt::format("{}:{}", launch.address, launch.port); }

StorePointer open_store(const Launch& launch, bool serves, milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = serves;
  options.waitWorkers = false;
  options.timeout = timeout;
  try {
    return c10::make_intrusive<c10d::TCPStore>(launch.address, options);
  } catch (const std::exception& error) {
    if (serves) {
      throw EnvironmentError("rank 0: cannot listen at {} ({}). Try: another MASTER_PORT", place(launch),
                             error.what());
    }
    throw EnvironmentError("rank {}: {} did not answer at {} within {:.0f} s ({})", launch.rank,
                           launch.launcher_listens ? "the launcher" : "rank 0", place(launch),
                           static_cast<double>(timeout.count()) / 1000.0, error.what());
  }
}

StorePointer of_attempt(const Launch& launch, const StorePointer& store, const std::string& part) {
  return c10::make_intrusive<c10d::PrefixStore>(fmt::format("ropescope/{}/{}", launch.attempt, part), store);
}

void meet(const Launch& launch, const StorePointer& store, milliseconds timeout) {
  const Clock::time_point end = Clock::now() + timeout;
  store->set(peer_key(launch.rank), std::vector<uint8_t>{'{', '}'});
  while (true) {
    std::vector<int64_t> missing;
    for (int64_t rank = 0; rank < launch.world; ++rank) {
      if (!store->check({peer_key(rank)})) missing.push_back(rank);
    }
    if (missing.empty()) return;
    if (Clock::now() > end) {
      throw EnvironmentError("rank {} of {} did not come to {} within {:.0f} s", fmt::join(missing, ", "),
                             launch.world, place(launch), static_cast<double>(timeout.count()) / 1000.0);
    }
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace

struct ProcessGroup::Impl {
  Launch launch;
  Settings settings;
  StorePointer store;
  // One for what is trained, one for numbers on the CPU; the same one where that serves both.
  BackendPointer data, control;
  std::unique_ptr<PeerWatch> watch;

  void wait(const c10::intrusive_ptr<c10d::Work>& work, const char* what) const {
    watch->begin_wait(what);
    try {
      work->wait();
    } catch (const std::exception& error) {
      const std::string reason = error.what();
      throw EnvironmentError("{}", watch->explain(reason.substr(0, reason.find('\n'))));
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
      const std::string reason = error.what();
      throw EnvironmentError("{}", watch->explain(reason.substr(0, reason.find('\n'))));
    }
    return [this, what, work, kept = std::move(kept)] { wait(work, what); };
  }

  Pending gather(const BackendPointer& backend, at::Tensor values, at::Tensor slice) const {
    return pending("an all-gather", {values, slice},
                   [&] { return backend->all_gather_single(values, slice); });
  }
};

ProcessGroup::ProcessGroup(const Launch& launch, Settings settings) : impl_(std::make_unique<Impl>()) {
  if (!settings.on_lost) throw InternalError("ProcessGroup: expected what to do when a rank is lost");
  if (!gloo_is_built_in()) make_gloo_backend({}, 0, 1, settings.timeout);  // says what is missing
  impl_->launch = launch;
  impl_->settings = settings;
  const bool serves = launch.rank == 0 && !launch.launcher_listens;
  const StorePointer first = open_store(launch, serves, settings.timeout);
  impl_->store = of_attempt(launch, first, "main");
  const StorePointer signs = of_attempt(launch, first, "signs");
  meet(launch, signs, settings.timeout);
  const milliseconds limit = PeerWatch::silence_limit(settings.timeout);
  PeerWatch::Settings watched;
  watched.rank = launch.rank;
  watched.world = launch.world;
  watched.keeps_store = serves;
  watched.store_place = launch.launcher_listens ? "" : place(launch);
  watched.own_name = own_name();
  watched.timeout = settings.timeout;
  watched.on_lost = settings.on_lost;
  impl_->watch = std::make_unique<PeerWatch>(of_attempt(launch, open_store(launch, false, limit), "signs"),
                                             std::move(watched));
  // The watch ends the run at the timeout and names who is missing; c10d's own limit only comes after it.
  const milliseconds backstop = 2 * settings.timeout;
  try {
    impl_->control =
        make_gloo_backend(of_attempt(launch, impl_->store, "gloo"), launch.rank, launch.world, backstop);
    impl_->data = settings.device.is_cuda() ? make_nccl_backend(of_attempt(launch, impl_->store, "nccl"),
                                                                launch.rank, launch.world, backstop)
                                            : impl_->control;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    throw EnvironmentError("rank {}: {}", launch.rank,
                           impl_->watch->explain(reason.substr(0, reason.find('\n'))));
  }
}

ProcessGroup::~ProcessGroup() = default;

int64_t ProcessGroup::rank() const { return impl_->launch.rank; }
int64_t ProcessGroup::world() const { return impl_->launch.world; }

ProcessGroup::Pending ProcessGroup::all_reduce(at::Tensor values) const {
  return impl_->pending("an all-reduce", {values}, [&] {
    std::vector<at::Tensor> tensors = {values};
    return impl_->data->allreduce(tensors);
  });
}

ProcessGroup::Pending ProcessGroup::reduce_scatter(at::Tensor slice, at::Tensor values) const {
  return impl_->pending("a reduce-scatter", {slice, values},
                        [&] { return impl_->data->reduce_scatter_single(slice, values); });
}

ProcessGroup::Pending ProcessGroup::all_gather(at::Tensor values, at::Tensor slice) const {
  return impl_->gather(impl_->data, std::move(values), std::move(slice));
}

at::Tensor ProcessGroup::gather_numbers(const at::Tensor& numbers) const {
  const at::Tensor own = numbers.detach().cpu().contiguous().flatten();
  const at::Tensor all = at::empty({world() * own.numel()}, own.options());
  impl_->gather(impl_->control, all, own)();
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

void ProcessGroup::announce_failure(const std::string& message) { impl_->watch->announce_failure(message); }

}  // namespace ropescope
