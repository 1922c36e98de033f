#include "ropescope/weights/loading_memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string_view>

#include <sys/mman.h>

#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

/// The number in a file of one number; nothing for "max".
std::optional<uint64_t> number_in(const fs::path& file) {
  std::ifstream stream(file);
  uint64_t number = 0;
  if (!(stream >> number)) return std::nullopt;
  return number;
}

/// The value of a line "name: N kB" or "name N".
std::optional<uint64_t> field_of(const fs::path& file, std::string_view name, uint64_t unit) {
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) {
    if (!line.starts_with(name)) continue;
    const size_t digits = line.find_first_of("0123456789", name.size());
    if (digits == std::string::npos) return std::nullopt;
    return std::stoull(line.substr(digits, 18)) * unit;
  }
  return std::nullopt;
}

/// The memory folder of this process's control group, versions 2 and 1; a container sees its own as the root.
fs::path group_folder(bool unified) {
  const fs::path root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
  std::ifstream stream("/proc/self/cgroup");
  for (std::string line; std::getline(stream, line);) {
    const bool mine = unified ? line.starts_with("0::") : line.find(":memory:") != std::string::npos;
    if (!mine) continue;
    const fs::path folder = root / fs::path(line.substr(line.rfind(':') + 1)).relative_path();
    std::error_code ignored;
    if (fs::is_directory(folder, ignored)) return folder;
  }
  return root;
}

/// What a control group has left; pages of files can be given back.
std::optional<uint64_t> left_in_group() {
  for (const bool unified : {true, false}) {
    const fs::path folder = group_folder(unified);
    const auto limit = number_in(folder / (unified ? "memory.max" : "memory.limit_in_bytes"));
    const auto used = number_in(folder / (unified ? "memory.current" : "memory.usage_in_bytes"));
    if (!limit || !used) continue;
    const auto files = field_of(folder / "memory.stat", unified ? "inactive_file" : "total_inactive_file", 1);
    const uint64_t held = *used - std::min(*used, files.value_or(0));
    return *limit - std::min(*limit, held);
  }
  return std::nullopt;
}

bool can_be_mapped(uint64_t bytes) {
  if (bytes == 0) return true;
  if (bytes > std::numeric_limits<size_t>::max() / 2) return false;
  void* place = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) return false;
  munmap(place, bytes);
  return true;
}

std::string in_gib(uint64_t bytes) {
  return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / (uint64_t{1} << 30));
}

}  // namespace

bool is_out_of_memory(const c10::Error& error) {
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr) return true;
  const std::string text = error.what_without_backtrace();
  return text.find("not enough memory") != std::string::npos ||
         text.find("out of memory") != std::string::npos;
}

std::optional<uint64_t> available_memory() {
  const fs::path machine = "/proc/meminfo";
  std::optional<uint64_t> left = field_of(machine, "MemAvailable", 1024);
  if (left) *left += field_of(machine, "SwapFree", 1024).value_or(0);
  const std::optional<uint64_t> group = left_in_group();
  if (!left || !group) return left ? left : group;
  return std::min(*left, *group);
}

std::string no_room_for_weights(uint64_t whole, c10::ScalarType dtype, const std::string& place,
                                std::optional<uint64_t> left) {
  const bool wide = c10::elementSize(dtype) > 2;
  return fmt::format("out of memory: the checkpoint's weights take {} in {}, more than {}{}. Try: {}",
                     in_gib(whole), dtype_name(dtype), place,
                     left ? fmt::format(" has left ({})", in_gib(*left)) : "",
                     wide ? fmt::format("--dtype bfloat16 ({}), or more memory to train",
                                        in_gib(whole / c10::elementSize(dtype) * 2))
                          : "a smaller model or more memory");
}

void require_memory_for_weights(uint64_t fresh, uint64_t whole, c10::ScalarType dtype) {
  const std::optional<uint64_t> left = available_memory();
  if (left && fresh > *left) {
    throw EnvironmentError("{}", no_room_for_weights(whole, dtype, "this machine", left));
  }
  if (!can_be_mapped(fresh)) {
    throw EnvironmentError("{}", no_room_for_weights(whole, dtype, "the limits of this process allow", {}));
  }
}

}  // namespace ropescope
