#include "ropescope/train/pairwise_exchange.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/add.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include "ropescope/train/collectives.h"
#include "ropescope/train/peer_memory.h"

namespace ropescope {

namespace {

// Messages of one exchange have numbers of their own, so that none is taken for one of the next.
constexpr int kTags = 1 << 16;
// What a message is: numbers, or where they are to be read; that all were read; that the sum of them can be.
enum Kind { kNumbers, kRead, kSummed, kKinds };

// Less than this is sent: an address and an answer cost about as much.
constexpr size_t kReadFrom = size_t{64} << 10;
// What is read before it is added, small enough for the cache and for one thread.
constexpr int64_t kBytesOfABlock = int64_t{64} << 10;

int64_t address_of(const at::Tensor& values) {
  return static_cast<int64_t>(reinterpret_cast<std::uintptr_t>(values.const_data_ptr()));
}

}  // namespace

/// What is waited for at the moment.
struct PairwiseExchange::Waits {
  std::mutex mutex;
  std::vector<Exchange*> now;
  bool given_up = false;
};

/// The messages of one exchange, and what is done with what came.
class PairwiseExchange::Exchange : public c10d::Work {
 public:
  explicit Exchange(const PairwiseExchange& all)
      : backend_(all.backend_),
        memory_(all.memory_.get()),
        waits_(all.waits_),
        first_tag_(all.tag_ * kKinds),
        world_(backend_->getSize()),
        rank_(backend_->getRank()) {}

  bool wait(std::chrono::milliseconds /*timeout*/) override {
    {
      const std::lock_guard lock(waits_->mutex);
      if (waits_->given_up) return false;
      waits_->now.push_back(this);
    }
    const auto end = [this] {
      const std::lock_guard lock(waits_->mutex);
      waits_->now.erase(std::find(waits_->now.begin(), waits_->now.end(), this));
      return !waits_->given_up;
    };
    try {
      const at::NoGradGuard no_grad;
      finish();
      for (const Message& message : sent_) message.work->wait();
    } catch (...) {
      if (end()) throw;
      return false;
    }
    const bool complete = end();
    sent_.clear();
    expected_.clear();
    return complete;
  }

  // (Under the lock of the waits.)
  void abort() override {
    for (const Message& message : sent_) message.work->abort();
    for (const Message& message : expected_) {
      if (message.work) message.work->abort();
    }
  }

 protected:
  // A message and the tensor it needs.
  struct Message {
    WorkPointer work;
    at::Tensor tensor;
  };

  // With whom this rank exchanges, each beginning with another neighbour, so that not all send to one of them.
  int sender(int step) const { return (rank_ + world_ - step) % world_; }
  int receiver(int step) const { return (rank_ + step) % world_; }
  bool reads(int reader, int owner, size_t bytes) const {
    return memory_ != nullptr && bytes >= kReadFrom && memory_->can_read(reader, owner);
  }

  void send(int to, Kind kind, const at::Tensor& values) {
    std::vector<at::Tensor> one = {values};
    const std::lock_guard lock(waits_->mutex);
    sent_.push_back({backend_->send(one, to, first_tag_ + kind), values});
  }
  void tell(int to, Kind kind) { send(to, kind, at::tensor({int64_t{1}}, at::kLong)); }

  Message expect(int from, Kind kind, const at::Tensor& values) {
    std::vector<at::Tensor> one = {values};
    const std::lock_guard lock(waits_->mutex);
    expected_.push_back({backend_->recv(one, from, first_tag_ + kind), values});
    if (waits_->given_up) expected_.back().work->abort();
    return expected_.back();
  }
  void hear(int from, Kind kind) { expect(from, kind, at::empty({1}, at::kLong)).work->wait(); }

  /// What is to be had from another rank: sent by it, or in its memory.
  struct Source {
    int rank = 0;
    bool read = false;
    at::Tensor values;  // that were sent
    Message message;    // that brings them, or their address

    int64_t address() const { return *message.tensor.const_data_ptr<int64_t>(); }
  };
  // Asks every other rank for what it has and says what this one has for it: `bytes` to and from each. `place(rank, read)` is
  // where what is sent goes, `own(rank)` what that rank gets.
  template <typename Place, typename Own>
  void connect(size_t bytes, const Place& place, const Own& own) {
    sources_.resize(static_cast<size_t>(world_));
    for (int step = 1; step < world_; ++step) {
      const int from = sender(step);
      const bool read = reads(rank_, from, bytes);
      const at::Tensor values = place(from, read);
      sources_[static_cast<size_t>(from)] = {
          from, read, values, expect(from, kNumbers, read ? at::empty({1}, at::kLong) : values)};
    }
    for (int step = 1; step < world_; ++step) {
      const int to = receiver(step);
      const at::Tensor values = own(to);
      if (reads(to, rank_, bytes)) {
        readers_.push_back(to);
        send(to, kNumbers, at::tensor({address_of(values)}, at::kLong));
      } else {
        send(to, kNumbers, values);
      }
    }
  }
  // Until all has been sent that is, and where the rest lies is known.
  void wait_for_sources() const {
    for (int step = 1; step < world_; ++step) source(sender(step)).message.work->wait();
  }
  // Lets the others have their memory again, and waits until this rank has its own.
  void end_reading() {
    for (int step = 1; step < world_; ++step) {
      if (source(sender(step)).read) tell(sender(step), kRead);
    }
    for (const int reader : readers_) hear(reader, kRead);
  }
  const Source& source(int from) const { return sources_[static_cast<size_t>(from)]; }
  // Numbers first .. first + count of what is to be had, into `place`.
  void read(const Source& from, int64_t first, const at::Tensor& place) const {
    const auto size = static_cast<int64_t>(place.element_size());
    memory_->read(from.rank, static_cast<std::uint64_t>(from.address() + first * size),
                  place.mutable_data_ptr(), place.nbytes());
  }
  // `sum` [n]: that of all ranks' numbers first .. first + n, `own` being this rank's, which `sum` may be. Block by block,
  // and in the order of the ranks, so that every rank would get the same to the bit.
  void add_up(int64_t first, const at::Tensor& own, const at::Tensor& sum) const {
    const int64_t whole = sum.numel(), most = kBytesOfABlock / static_cast<int64_t>(sum.element_size());
    const at::Tensor came = at::empty({std::min(whole, most)}, sum.options());
    const at::Tensor before = at::empty_like(came);
    for (int64_t at = 0; at < whole; at += most) {
      const int64_t count = std::min(most, whole - at);
      at::Tensor total;  // of the ranks so far
      for (int rank = 0; rank < world_; ++rank) {
        at::Tensor next;
        if (rank == rank_) {
          next = own.narrow(0, at, count);
        } else if (const Source& from = source(rank); from.read) {
          next = (total.defined() ? came : before).narrow(0, 0, count);
          read(from, first + at, next);
        } else {
          next = from.values.narrow(0, at, count);
        }
        if (!total.defined()) {
          total = next;
          continue;
        }
        at::Tensor into = before.narrow(0, 0, count);
        if (rank + 1 == world_) into = sum.narrow(0, at, count);
        at::add_out(into, total, next);
        total = into;
      }
      if (world_ == 1) sum.narrow(0, at, count).copy_(total);
    }
  }

  virtual void finish() = 0;

  BackendPointer backend_;
  const PeerMemory* memory_;
  std::shared_ptr<Waits> waits_;
  int first_tag_, world_, rank_;

 private:
  std::vector<Message> sent_, expected_;
  std::vector<Source> sources_;  // by rank
  std::vector<int> readers_;     // who read this rank's numbers
};

class PairwiseExchange::Gather : public Exchange {
 public:
  Gather(const PairwiseExchange& all, const at::Tensor& values, const at::Tensor& slice)
      : Exchange(all), values_(values), n_(slice.numel()) {
    if (place(rank_).const_data_ptr() != slice.const_data_ptr()) place(rank_).copy_(slice);
    connect(
        slice.nbytes(), [this](int from, bool) { return place(from); }, [&](int) { return slice; });
  }

 private:
  at::Tensor place(int rank) const { return values_.narrow(0, rank * n_, n_); }

  void finish() override {
    wait_for_sources();
    for (int step = 1; step < world_; ++step) {
      if (const Source& from = source(sender(step)); from.read) read(from, 0, from.values);
    }
    end_reading();
  }

  at::Tensor values_;
  int64_t n_;
};

class PairwiseExchange::Reduction : public Exchange {
 public:
  Reduction(const PairwiseExchange& all, const at::Tensor& slice, const at::Tensor& values)
      : Exchange(all), sum_(slice) {
    const int64_t n = slice.numel();
    const auto part = [&](int rank) { return values.narrow(0, rank * n, n); };
    own_ = part(rank_);
    connect(
        slice.nbytes(),
        [&](int, bool read) { return read ? at::Tensor() : at::empty({n}, values.options()); }, part);
  }

 private:
  void finish() override {
    wait_for_sources();
    add_up(0, own_, sum_);
    end_reading();
  }

  at::Tensor own_, sum_;
};

/// Every rank adds up a share of the numbers in place, where nobody else reads, and reads the other shares.
class PairwiseExchange::FullReduction : public Exchange {
 public:
  FullReduction(const PairwiseExchange& all, const at::Tensor& values) : Exchange(all), values_(values) {
    connect(
        values.nbytes(), [](int, bool) { return at::Tensor(); }, [&](int) { return values; });
  }

 private:
  int64_t begin(int rank) const { return values_.numel() * rank / world_; }
  at::Tensor share(int rank) const { return values_.narrow(0, begin(rank), begin(rank + 1) - begin(rank)); }

  void finish() override {
    wait_for_sources();
    add_up(begin(rank_), share(rank_), share(rank_));
    for (int step = 1; step < world_; ++step) tell(receiver(step), kSummed);
    for (int step = 1; step < world_; ++step) {
      const int from = sender(step);
      hear(from, kSummed);
      read(source(from), begin(from), share(from));
    }
    end_reading();
  }

  at::Tensor values_;
};

PairwiseExchange::PairwiseExchange(BackendPointer backend)
    : backend_(std::move(backend)), waits_(std::make_shared<Waits>()) {}

PairwiseExchange::~PairwiseExchange() = default;

void PairwiseExchange::use(std::unique_ptr<const PeerMemory> memory) { memory_ = std::move(memory); }

template <typename Kind, typename... Args>
PairwiseExchange::WorkPointer PairwiseExchange::start(Args&&... args) {
  tag_ = (tag_ + 1) % kTags;
  return c10::make_intrusive<Kind>(*this, std::forward<Args>(args)...);
}

PairwiseExchange::WorkPointer PairwiseExchange::all_gather(const at::Tensor& values,
                                                           const at::Tensor& slice) {
  return start<Gather>(values, slice);
}

PairwiseExchange::WorkPointer PairwiseExchange::reduce_scatter(const at::Tensor& slice,
                                                               const at::Tensor& values) {
  return start<Reduction>(slice, values);
}

PairwiseExchange::WorkPointer PairwiseExchange::all_reduce(const at::Tensor& values) {
  if (memory_ && memory_->all_can_read() && values.nbytes() >= kReadFrom && values.is_contiguous()) {
    return start<FullReduction>(values);
  }
  std::vector<at::Tensor> one = {values};
  return backend_->allreduce(one);
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
