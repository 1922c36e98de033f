// Where something else is running, threads that wait for others give their core away instead of spinning on it. libgomp
// spins for some milliseconds unless it is told otherwise, which is the faster way on an idle machine and halves the speed
// where one core is busy with something else (docs/performance.md). It reads its environment once, when the loader starts it, and no call changes it later:
// so before any library is started, the executable puts the setting into its environment and starts itself once more.
// Loading twice costs some 0.07 s; nothing is done where a user has said how to wait, where nothing is computed, or where
// nothing else is running.
#include <cstddef>
#include <cstring>
#include <initializer_list>

#include <alloca.h>
#include <fcntl.h>
#include <unistd.h>

namespace ropescope::app {

namespace passive_waiting {

namespace {

char kSetting[] = "OMP_WAIT_POLICY=passive";

bool sets(const char* entry, const char* variable) {
  const size_t length = std::strlen(variable);
  return std::strncmp(entry, variable, length) == 0 && entry[length] == '=';
}

// A user's word about waiting; the second is what also says that this has been done.
bool says_how_to_wait(const char* entry) {
  for (const char* variable : {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"}) {
    if (sets(entry, variable)) return true;
  }
  return false;
}

bool only_prints(int argc, char** argv) {
  if (argc < 2) return true;
  for (const char* word : {"help", "version", "--version", "completion"}) {
    if (std::strcmp(argv[1], word) == 0) return true;
  }
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--help") == 0 || std::strcmp(argv[i], "-h") == 0) return true;
  }
  return false;
}

// Whether another process is running or waits for a core: "0.00 0.01 0.05 2/76 4711" in /proc/loadavg, where this one is
// among the 2.
bool others_run() {
  char text[128];
  const int file = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const ssize_t length = read(file, text, sizeof(text) - 1);
  close(file);
  if (length <= 0) return false;
  text[length] = '\0';
  const char* slash = std::strchr(text, '/');
  if (slash == nullptr) return false;
  const char* digit = slash;
  while (digit > text && digit[-1] != ' ') --digit;
  // One digit that is 0 or 1 is this process alone.
  return slash - digit > 1 || *digit > '1';
}

// Runs before libc has set itself up: no allocation, no setenv. Where anything fails, the program goes on as it is.
void wait_passively(int argc, char** argv, char** environment) {
  if (only_prints(argc, argv)) return;
  size_t count = 0;
  while (environment[count] != nullptr) {
    if (says_how_to_wait(environment[count])) return;
    ++count;
  }
  if (!others_run()) return;
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
  if (length <= 0) return;
  path[length] = '\0';
  auto** extended = static_cast<char**>(alloca((count + 2) * sizeof(char*)));
  std::memcpy(extended, environment, count * sizeof(char*));
  extended[count] = kSetting;
  extended[count + 1] = nullptr;
  execve(path, argv, extended);
}

// What stands in this section of an executable runs before the constructors of its libraries. A sanitizer's own set-up
// stands there too, and must come first.
#ifndef __SANITIZE_ADDRESS__
[[gnu::section(".preinit_array"), gnu::used]] void (*before_libraries)(int, char**, char**) = wait_passively;
#else
[[maybe_unused]] void (*const unused)(int, char**, char**) = wait_passively;
#endif

}  // namespace

}  // namespace passive_waiting

}  // namespace ropescope::app
