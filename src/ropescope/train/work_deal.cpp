#include "ropescope/train/work_deal.h"

#include <chrono>
#include <exception>
#include <thread>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json_difference.h"
#include "ropescope/train/collectives.h"
#include "ropescope/train/peer_watch.h"

namespace ropescope {

namespace {

constexpr std::chrono::milliseconds kLookAgain{50};
constexpr const char* kDealt = "dealt";
constexpr const char* kTaken = "taken";

std::string done_key(int64_t rank) { return fmt::format("done/{}", rank); }

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

}  // namespace

struct DealtWork::Impl {
  Impl(const Launch& launch, const Meeting::Settings& settings)
      : meeting(launch, settings), store(meeting.store("work")) {}

  /// Calls the store, which ends with rank 0 or the launcher.
  template <typename Call>
  auto ask(Call call) {
    try {
      return call();
    } catch (const std::exception& error) {
      throw EnvironmentError("{}", meeting.watch().explain(error.what()));
    }
  }
  /// The others may take as long as they need; the watch ends this process if one of them is lost.
  void wait_for(const std::string& key) {
    while (!ask([&] { return store->check({key}); })) std::this_thread::sleep_for(kLookAgain);
  }

  Meeting meeting;
  Meeting::StorePointer store;
};

DealtWork::DealtWork(const Launch& launch, const Meeting::Settings& settings) : launch_(launch) {
  if (!alone()) impl_ = std::make_unique<Impl>(launch, settings);
}

DealtWork::~DealtWork() = default;

void DealtWork::deal(const std::vector<int64_t>& open, const Json& subject) {
  open_ = open;
  if (alone()) return;
  if (leads()) {
    const std::string dealt = Json{{"open", open}, {"subject", subject}}.dump();
    impl_->ask([&] { impl_->store->set(kDealt, bytes_of(dealt)); });
    return;
  }
  impl_->wait_for(kDealt);
  const std::vector<uint8_t> said = impl_->ask([&] { return impl_->store->get(kDealt); });
  const Json dealt = Json::parse(said.begin(), said.end());
  if (const auto other = first_difference(dealt.at("subject"), subject)) {
    throw EnvironmentError(
        "rank {}: expected the files and settings of rank 0, found others ({}: {} there, {} here)", rank(),
        other->key, other->was, other->is);
  }
  open_ = dealt.at("open").get<std::vector<int64_t>>();
}

std::optional<int64_t> DealtWork::next() {
  size_t place = taken_++;
  if (!alone()) {
    place = static_cast<size_t>(impl_->ask([&] { return impl_->store->add(kTaken, 1); }) - 1);
  }
  return place < open_.size() ? std::optional(open_[place]) : std::nullopt;
}

void DealtWork::finish() {
  if (alone()) return;
  impl_->ask([&] { impl_->store->set(done_key(rank()), bytes_of("done")); });
  for (int64_t other = 0; leads() && other < world(); ++other) impl_->wait_for(done_key(other));
}

void DealtWork::announce_failure(const std::string& message) {
  if (!alone()) impl_->meeting.watch().announce_failure(message);
}

}  // namespace ropescope
