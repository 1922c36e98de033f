#include "ropescope/train/pairwise_exchange.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>

#include "ropescope/train/collectives.h"

namespace ropescope {

namespace {

// Messages of one exchange have a number of their own, so that none is taken for one of the next.
constexpr int kTags = 1 << 16;

}  // namespace

/// What is waited for at the moment.
struct PairwiseExchange::Waits {
  std::mutex mutex;
  std::vector<Exchange*> now;
  bool given_up = false;
};

/// All messages of one exchange, and the sum of what came.
class PairwiseExchange::Exchange : public c10d::Work {
 public:
  std::shared_ptr<Waits> waits;
  std::vector<WorkPointer> messages;
  std::vector<at::Tensor> addends;  // in the order of the ranks
  at::Tensor sum;

  bool wait(std::chrono::milliseconds /*timeout*/) override {
    {
      const std::lock_guard lock(waits->mutex);
      if (waits->given_up) return false;
      waits->now.push_back(this);
    }
    const auto end = [this] {
      const std::lock_guard lock(waits->mutex);
      waits->now.erase(std::find(waits->now.begin(), waits->now.end(), this));
      return !waits->given_up;
    };
    try {
      for (const WorkPointer& message : messages) message->wait();
    } catch (...) {
      if (end()) throw;
      return false;
    }
    if (!end()) return false;
    const at::NoGradGuard no_grad;
    if (addends.size() > 1) at::add_out(sum, addends[0], addends[1]);
    for (size_t i = 2; i < addends.size(); ++i) sum.add_(addends[i]);
    addends.clear();
    return true;
  }

  void abort() override {
    for (const WorkPointer& message : messages) message->abort();
  }
};

PairwiseExchange::PairwiseExchange(BackendPointer backend)
    : backend_(std::move(backend)), waits_(std::make_shared<Waits>()) {}

PairwiseExchange::~PairwiseExchange() = default;

// outgoing[r] goes to rank r, incoming[r] comes from it; this rank's own are not looked at.
PairwiseExchange::WorkPointer PairwiseExchange::start(std::vector<at::Tensor> outgoing,
                                                      std::vector<at::Tensor> incoming, at::Tensor sum) {
  const int world = backend_->getSize(), rank = backend_->getRank();
  tag_ = (tag_ + 1) % kTags;
  auto exchange = c10::make_intrusive<Exchange>();
  exchange->waits = waits_;
  // (Each begins with another neighbour, so that not all send to one of them.)
  for (int step = 1; step < world; ++step) {
    const int from = (rank + world - step) % world;
    std::vector<at::Tensor> one = {incoming[static_cast<size_t>(from)]};
    exchange->messages.push_back(backend_->recv(one, from, tag_));
  }
  for (int step = 1; step < world; ++step) {
    const int to = (rank + step) % world;
    std::vector<at::Tensor> one = {outgoing[static_cast<size_t>(to)]};
    exchange->messages.push_back(backend_->send(one, to, tag_));
  }
  if (sum.defined()) {
    exchange->addends = std::move(incoming);
    exchange->sum = std::move(sum);
  }
  return exchange;
}

PairwiseExchange::WorkPointer PairwiseExchange::all_gather(const at::Tensor& values,
                                                           const at::Tensor& slice) {
  const auto world = static_cast<size_t>(backend_->getSize()),
             rank = static_cast<size_t>(backend_->getRank());
  const int64_t n = slice.numel();
  std::vector<at::Tensor> incoming;
  for (size_t r = 0; r < world; ++r) incoming.push_back(values.narrow(0, static_cast<int64_t>(r) * n, n));
  if (incoming[rank].const_data_ptr() != slice.const_data_ptr()) incoming[rank].copy_(slice);
  return start(std::vector<at::Tensor>(world, slice), std::move(incoming), {});
}

PairwiseExchange::WorkPointer PairwiseExchange::reduce_scatter(const at::Tensor& slice,
                                                               const at::Tensor& values) {
  const auto world = static_cast<size_t>(backend_->getSize()),
             rank = static_cast<size_t>(backend_->getRank());
  const int64_t n = slice.numel();
  std::vector<at::Tensor> outgoing, incoming;
  for (size_t r = 0; r < world; ++r) {
    outgoing.push_back(values.narrow(0, static_cast<int64_t>(r) * n, n));
    incoming.push_back(r == rank ? outgoing.back() : at::empty({n}, values.options()));
  }
  return start(std::move(outgoing), std::move(incoming), slice);
}

void PairwiseExchange::give_up() {
  const std::lock_guard lock(waits_->mutex);
  waits_->given_up = true;
  for (Exchange* exchange : waits_->now) exchange->abort();
}

bool PairwiseExchange::given_up() const {
  const std::lock_guard lock(waits_->mutex);
  return waits_->given_up;
}

}  // namespace ropescope
