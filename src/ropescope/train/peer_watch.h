// Signs of life of all processes of a run, kept in the store where they met, so that a process that is lost
// ends the others with its name instead of leaving them waiting.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <c10/util/intrusive_ptr.h>

namespace c10d {
class Store;
}  // namespace c10d

namespace ropescope {

/// A thread that says every now and then that this process lives and how far it is, and looks at what the
/// others say. A rank is lost if it says so, if it is silent for half the timeout (at most 30 s), or if the
/// others have waited for it for the whole timeout.
class PeerWatch {
 public:
  struct Settings {
    int64_t rank = 0, world = 1;
    bool keeps_store = false;  ///< the store ends with this process
    std::string store_place;   ///< for messages
    std::string own_name;      ///< "process 123 on host"
    std::chrono::milliseconds timeout{0};
    /// Called by the thread with one sentence when a rank is lost while this process may be stuck in the
    /// middle of an exchange: it must not return to it.
    std::function<void(const std::string& message)> on_lost;
  };

  /// `store`: a connection of its own. All ranks must have met.
  PeerWatch(c10::intrusive_ptr<c10d::Store> store, Settings settings);
  /// Leaves: the others no longer expect signs of life.
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  /// Around every wait for the others. `what`: "an all-reduce".
  void begin_wait(const char* what);
  void end_wait();

  /// After an exchange has failed with `reason`, whose first line counts: the sentence that names the rank that was lost.
  std::string explain(const std::string& reason);
  /// Tells the others that this rank ends with an error of its own.
  void announce_failure(const std::string& message);

  /// Longest silence of a rank that lives.
  static std::chrono::milliseconds silence_limit(std::chrono::milliseconds timeout);

 private:
  using Clock = std::chrono::steady_clock;
  enum class State { kAlive, kFailed, kLost, kDone };
  struct Peer {
    State state = State::kAlive;
    std::string said;  ///< the last text
    std::string name, message;
    int64_t sequence = 0;
    bool waiting = false;
    Clock::time_point seen;
  };

  void work();
  void guard();
  std::string store_is_lost() const;
  void say();
  void look();
  std::optional<std::string> judge() const;
  void leave(State state, const std::string& message);
  bool all_have_left() const;

  c10::intrusive_ptr<c10d::Store> store_;
  Settings settings_;
  std::chrono::milliseconds interval_;
  std::vector<std::string> keys_;

  mutable std::mutex mutex_;  // of everything below
  std::condition_variable changed_;
  std::vector<Peer> peers_;
  State own_state_ = State::kAlive;
  std::string own_message_;
  int64_t beat_ = 0, sequence_ = 0;
  const char* waiting_for_ = nullptr;
  Clock::time_point waiting_since_;
  bool asked_ = false, stop_ = false;  // asked: the main thread wants to know and will throw
  std::optional<std::string> verdict_;
  std::optional<Clock::time_point> asking_since_;  // the store, which may never answer
  std::thread thread_, guard_;
};

/// Where a rank says how it is.
std::string peer_key(int64_t rank);

}  // namespace ropescope
