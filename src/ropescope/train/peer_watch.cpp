#include "ropescope/train/peer_watch.h"

#include <algorithm>
#include <exception>
#include <utility>

#include <fmt/format.h>

#include "ropescope/core/json.h"
#include "ropescope/train/collectives.h"

namespace ropescope {

namespace {

using std::chrono::milliseconds;

// A process that keeps the store outlives an error of its own by this much, so that all others read it.
constexpr milliseconds kLinger{3000};
// Once an exchange has failed, a rank that misses this many signs of life in a row is the one.
constexpr int kMissedSigns = 6;

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

std::string peer_key(int64_t rank) { return fmt::format("rank/{}", rank); }

milliseconds PeerWatch::silence_limit(milliseconds timeout) {
  return std::min(timeout / 2, milliseconds(30000));
}

PeerWatch::PeerWatch(c10::intrusive_ptr<c10d::Store> store, Settings settings)
    : store_(std::move(store)),
      settings_(std::move(settings)),
      interval_(std::clamp(settings_.timeout / 40, milliseconds(20), milliseconds(1000))),
      peers_(static_cast<size_t>(settings_.world)) {
  for (int64_t rank = 0; rank < settings_.world; ++rank) keys_.push_back(peer_key(rank));
  for (Peer& peer : peers_) peer.seen = Clock::now();
  thread_ = std::thread([this] { work(); });
  guard_ = std::thread([this] { guard(); });
}

PeerWatch::~PeerWatch() {
  leave(State::kDone, "");
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
  guard_.join();
}

void PeerWatch::begin_wait(const char* what) {
  const std::lock_guard lock(mutex_);
  waiting_for_ = what;
  waiting_since_ = Clock::now();
  ++sequence_;
}

void PeerWatch::end_wait() {
  const std::lock_guard lock(mutex_);
  waiting_for_ = nullptr;
}

void PeerWatch::say() {
  Json text;
  {
    const std::lock_guard lock(mutex_);
    text = {{"beat", ++beat_},
            {"state", static_cast<int>(own_state_)},
            {"name", settings_.own_name},
            {"message", own_message_},
            {"sequence", sequence_},
            {"waiting", waiting_for_ != nullptr}};
  }
  const std::string said = text.dump();
  store_->set(peer_key(settings_.rank), std::vector<uint8_t>(said.begin(), said.end()));
}

void PeerWatch::look() {
  const auto texts = store_->multiGet(keys_);
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  for (size_t i = 0; i < peers_.size(); ++i) {
    Peer& peer = peers_[i];
    std::string said(texts[i].begin(), texts[i].end());
    if (said == peer.said) continue;
    const Json text = Json::parse(said, nullptr, /*allow_exceptions=*/false);
    if (!text.is_object()) continue;
    peer.said = std::move(said);
    peer.seen = now;
    peer.state = static_cast<State>(text.value("state", 0));
    peer.name = text.value("name", "");
    peer.message = text.value("message", "");
    peer.sequence = text.value("sequence", int64_t{0});
    peer.waiting = text.value("waiting", false);
  }
}

// Holds mutex_.
std::optional<std::string> PeerWatch::judge() const {
  const auto named = [this](size_t rank) { return fmt::format("rank {} ({})", rank, peers_[rank].name); };
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (peers_[i].state == State::kFailed && static_cast<int64_t>(i) != settings_.rank) {
      return fmt::format("{} ended with an error: {}", named(i), peers_[i].message);
    }
  }
  for (const Peer& peer : peers_) {
    if (peer.state == State::kLost) return peer.message;
  }
  const Clock::time_point now = Clock::now();
  const milliseconds limit = asked_ ? std::min(interval_ * kMissedSigns, silence_limit(settings_.timeout))
                                    : silence_limit(settings_.timeout);
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (static_cast<int64_t>(i) == settings_.rank || peers_[i].state != State::kAlive) continue;
    if (now - peers_[i].seen > limit) {
      return fmt::format("{} was lost: it gave no sign of life for {:.1f} s", named(i),
                         seconds(now - peers_[i].seen));
    }
  }
  if (waiting_for_ == nullptr || now - waiting_since_ < settings_.timeout) return std::nullopt;
  // Everybody lives, but somebody did not come along: whoever is furthest behind.
  int64_t last = sequence_;
  for (const Peer& peer : peers_) last = std::min(last, peer.sequence);
  std::string behind;
  for (size_t i = 0; i < peers_.size(); ++i) {
    const bool late = peers_[i].sequence < sequence_ ? peers_[i].sequence == last : !peers_[i].waiting;
    if (static_cast<int64_t>(i) != settings_.rank && late) behind += (behind.empty() ? "" : ", ") + named(i);
  }
  return fmt::format("{} did not come to {} within {:.1f} s. Try: a longer --timeout",
                     behind.empty() ? "some rank" : behind, waiting_for_, seconds(settings_.timeout));
}

void PeerWatch::work() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    asking_since_ = Clock::now();
    lock.unlock();
    std::optional<std::string> trouble;
    try {
      say();
      look();
    } catch (const std::exception&) {
      trouble = store_is_lost();
    }
    lock.lock();
    asking_since_.reset();
    if (stop_ || own_state_ != State::kAlive) {
      changed_.notify_all();
    } else {
      verdict_ = trouble ? trouble : judge();
      if (verdict_ && asked_) {
        changed_.notify_all();
      } else if (verdict_) {
        const std::string message = *verdict_;
        lock.unlock();
        leave(State::kLost, message);
        settings_.on_lost(message);
        lock.lock();
      }
    }
    if (trouble) return;
    changed_.wait_for(lock, interval_, [this] { return stop_; });
  }
}

// A store whose process hangs never answers: the thread that asks it cannot notice.
void PeerWatch::guard() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    changed_.wait_for(lock, interval_, [this] { return stop_; });
    if (stop_ || !asking_since_) continue;
    if (Clock::now() - *asking_since_ < silence_limit(settings_.timeout)) continue;
    lock.unlock();
    settings_.on_lost(store_is_lost());
    lock.lock();
  }
}

std::string PeerWatch::store_is_lost() const {
  if (settings_.store_place.empty()) return "the launcher was lost: its store does not answer any more";
  return fmt::format("rank 0 was lost: it does not answer at {} any more", settings_.store_place);
}

std::string PeerWatch::explain(const std::string& reason) {
  std::string message;
  {
    std::unique_lock lock(mutex_);
    asked_ = true;
    const milliseconds patience = silence_limit(settings_.timeout) + 4 * interval_;
    if (!changed_.wait_for(lock, patience, [this] { return verdict_.has_value(); })) {
      return fmt::format("the processes lost each other ({})", reason.substr(0, reason.find('\n')));
    }
    message = *verdict_;
  }
  leave(State::kLost, message);
  return message;
}

void PeerWatch::announce_failure(const std::string& message) { leave(State::kFailed, message); }

bool PeerWatch::all_have_left() const {
  const std::lock_guard lock(mutex_);
  const Clock::time_point now = Clock::now();
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (static_cast<int64_t>(i) == settings_.rank || peers_[i].state != State::kAlive) continue;
    if (now - peers_[i].seen < interval_ * kMissedSigns) return false;
  }
  return true;
}

void PeerWatch::leave(State state, const std::string& message) {
  {
    const std::lock_guard lock(mutex_);
    if (own_state_ != State::kAlive) return;
    own_state_ = state;
    own_message_ = message;
  }
  try {
    say();
    const Clock::time_point end = Clock::now() + std::min(kLinger, silence_limit(settings_.timeout));
    while (settings_.keeps_store && Clock::now() < end) {
      look();
      if (all_have_left()) break;
      std::this_thread::sleep_for(interval_);
    }
  } catch (const std::exception&) {
    // The store is gone; nobody is left to tell.
  }
}

}  // namespace ropescope
