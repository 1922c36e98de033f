// Reading straight from the memory of other ranks of the same machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace ropescope {

/// What the ranks of one machine can read from each other by Linux's process_vm_readv: one copy by who reads, where a
/// socket between two processes costs both of them copies and turns in the kernel (measured: six to eight times the bytes
/// a second). Who may read whom is tried out once, between ranks that say they are on the same machine; in containers
/// that see different processes, or forbid it, and between machines, nobody may, and nothing changes but the speed. While it
/// lives, other processes of the same user may read this one's memory even where Linux's Yama would forbid it.
class PeerMemory {
 public:
  /// Every rank's text, in the order of the ranks.
  using GatherTexts = std::function<std::vector<std::string>(const std::string& text)>;

  /// All ranks at once.
  PeerMemory(int rank, int world, const GatherTexts& gather);
  ~PeerMemory();
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;

  /// Whether rank `reader` can read from rank `owner`; every rank knows the same. A rank does not read itself.
  bool can_read(int reader, int owner) const;
  /// Whether every rank can read every other one.
  bool all_can_read() const;

  /// Copies `bytes` at `address` of rank `owner`. Throws EnvironmentError if it is gone.
  void read(int owner, std::uint64_t address, void* into, size_t bytes) const;

 private:
  int rank_, world_;
  std::unique_ptr<const std::uint64_t> token_;  // what the others try to read
  std::vector<int> process_;                    // by rank; 0: of another machine
  std::vector<bool> readable_;                  // [reader world + owner]
};

}  // namespace ropescope
