#include "ropescope/core/unfinished.h"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"

namespace ropescope {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMostUnfinished = 64;
constexpr size_t kMostMissing = 2;

// A signal handler reads them: no lock, no allocation.
std::array<std::atomic<const char*>, kMostUnfinished> unfinished_paths{};

void remove_unfinished(int signal) {
  bool any = false;
  for (auto& slot : unfinished_paths) {
    const char* path = slot.exchange(nullptr);
    if (path == nullptr) continue;
    if (unlink(path) == 0 || rmdir(path) == 0) any = true;
  }
  constexpr char kSaid[] = "\nropescope: interrupted; what was unfinished has been removed\n";
  if (any && write(STDERR_FILENO, kSaid, sizeof kSaid - 1) < 0) {
  }  // (nobody is left to be told)
  std::signal(signal, SIG_DFL);
  raise(signal);
}

void watch_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction now = {};
    if (sigaction(signal, nullptr, &now) != 0 || now.sa_handler != SIG_DFL) continue;
    struct sigaction action = {};
    action.sa_handler = remove_unfinished;
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace

RemovedBySignals::RemovedBySignals(const fs::path& path)
    : slot_(kMostUnfinished), path_(fs::absolute(path).string()) {
  for (size_t i = 0; i < kMostUnfinished; ++i) {
    const char* none = nullptr;
    if (!unfinished_paths[i].compare_exchange_strong(none, path_.c_str())) continue;
    slot_ = i;
    break;
  }
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  watch_signals();
}

RemovedBySignals::~RemovedBySignals() {
  if (slot_ < kMostUnfinished) unfinished_paths[slot_].store(nullptr);
}

OutputFolder::OutputFolder(fs::path folder) : folder_(folder.empty() ? fs::path(".") : std::move(folder)) {
  std::error_code code;
  std::vector<fs::path> missing;
  for (fs::path path = fs::absolute(folder_ / "").lexically_normal().parent_path(); !fs::exists(path, code);
       path = path.parent_path()) {
    missing.push_back(path);
  }
  if (!missing.empty()) {
    const fs::path& outermost = missing.back();
    if (missing.size() > kMostMissing || outermost.parent_path() == outermost.root_path()) {
      throw EnvironmentError(
          "{}: the folder cannot be written (No such file or directory; mkdir -p makes it)",
          folder_.string());
    }
    fs::create_directories(folder_, code);
    if (!code) made_ = std::move(missing);
  }
  if (!code && !fs::is_directory(folder_, code)) code = std::make_error_code(std::errc::not_a_directory);
  if (!code && access(folder_.c_str(), W_OK | X_OK) != 0) code.assign(errno, std::generic_category());
  if (code) throw EnvironmentError("{}: the folder cannot be written ({})", folder_.string(), code.message());
}

void OutputFolder::keep() {
  if (!made_.empty()) log_info("made the folder {}", folder_.string());
  made_.clear();
}

OutputFolder::~OutputFolder() {
  std::error_code code;
  for (const fs::path& path : made_) {
    if (!fs::remove(path, code)) break;  // (a folder that is not empty stays)
  }
}

void require_writable(const fs::path& target) {
  const OutputFolder folder(target.parent_path());
  const fs::path probe = folder.path() / fmt::format(".{}.{}.tmp", target.stem().string(), getpid());
  const int file = open(probe.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0) {
    throw EnvironmentError("{}: cannot be written ({})", target.string(), std::strerror(errno));
  }
  close(file);
  unlink(probe.c_str());
}

}  // namespace ropescope
