#include "ropescope/train/meeting.h"

#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"
#include "ropescope/train/collectives.h"
#include "ropescope/train/peer_watch.h"

namespace ropescope {

namespace {

using std::chrono::milliseconds;
using StorePointer = Meeting::StorePointer;

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
  const auto end = std::chrono::steady_clock::now() + timeout;
  // (the name from the first moment on: one that is lost before its first sign of life is named like any other)
  const std::string own = Json{{"name", own_name()}}.dump();
  store->set(peer_key(launch.rank), std::vector<uint8_t>(own.begin(), own.end()));
  while (true) {
    std::vector<int64_t> missing;
    for (int64_t rank = 0; rank < launch.world; ++rank) {
      if (!store->check({peer_key(rank)})) missing.push_back(rank);
    }
    if (missing.empty()) return;
    if (std::chrono::steady_clock::now() > end) {
      throw EnvironmentError("rank {} of {} did not come to {} within {:.0f} s", fmt::join(missing, ", "),
                             launch.world, place(launch), static_cast<double>(timeout.count()) / 1000.0);
    }
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace

Meeting::Meeting(const Launch& launch, const Settings& settings) : launch_(launch) {
  if (!settings.on_lost) throw InternalError("Meeting: expected what to do when a rank is lost");
  const bool serves = launch.rank == 0 && !launch.launcher_listens;
  const StorePointer first = open_store(launch, serves, settings.timeout);
  store_ = of_attempt(launch, first, "main");
  meet(launch, of_attempt(launch, first, "signs"), settings.timeout);
  PeerWatch::Settings watched;
  watched.rank = launch.rank;
  watched.world = launch.world;
  watched.keeps_store = serves;
  watched.store_place = launch.launcher_listens ? "" : place(launch);
  watched.own_name = own_name();
  watched.timeout = settings.timeout;
  watched.on_lost = settings.on_lost;
  const milliseconds limit = PeerWatch::silence_limit(settings.timeout);
  watch_ = std::make_unique<PeerWatch>(of_attempt(launch, open_store(launch, false, limit), "signs"),
                                       std::move(watched));
}

Meeting::~Meeting() = default;

StorePointer Meeting::store(const std::string& part) const { return of_attempt(launch_, store_, part); }

}  // namespace ropescope
