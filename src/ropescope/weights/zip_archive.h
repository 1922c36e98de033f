// Zip archives as torch.save writes them, read from a map. Its own small reader, because libzip and minizip
// copy every byte through a decoder and do not tell where a stored entry lies, while weights must stay in the
// map; and because a PyTorch archive needs little of zip: the central directory, zip64 sizes (shards of 10
// GB), stored and (rarely, after repacking) deflated entries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ropescope {

/// One entry. `data` lies inside the archive; its bytes are the entry's when `deflated` is not set.
struct ZipEntry {
  std::string name;
  std::span<const std::byte> data;
  bool deflated = false;
  uint64_t size = 0;  ///< bytes when inflated; at most max(archive, 1 MiB) and 1032 times the stored bytes
};

/// All entries, sorted by name. Throws InputError for anything that leaves the archive, overlaps, is
/// encrypted, spans disks, uses another method, has a name twice, or declares to inflate to more than the
/// archive's own size. Checksums are not verified: torch.save can be told to leave them out.
std::vector<ZipEntry> read_zip_directory(std::span<const std::byte> archive, const std::string& what);

/// Raw deflate data of exactly `size` bytes. Throws InputError otherwise.
std::vector<std::byte> inflate_record(std::span<const std::byte> data, uint64_t size,
                                      const std::string& what);

}  // namespace ropescope
