#include "ropescope/weights/zip_archive.h"

#include <algorithm>
#include <memory>
#include <optional>

#include <zlib.h>

#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

// Signatures and fixed sizes: PKWARE APPNOTE 6.3.10, sections 4.3.7 to 4.3.16.
constexpr uint32_t kLocalSignature = 0x04034b50;
constexpr uint32_t kCentralSignature = 0x02014b50;
constexpr uint32_t kEndSignature = 0x06054b50;
constexpr uint32_t kEnd64Signature = 0x06064b50;
constexpr uint32_t kEnd64LocatorSignature = 0x07064b50;
constexpr uint64_t kLocalBytes = 30;
constexpr uint64_t kCentralBytes = 46;
constexpr uint64_t kEndBytes = 22;
constexpr uint64_t kEnd64Bytes = 56;
constexpr uint64_t kEnd64LocatorBytes = 20;
constexpr uint64_t kMaxCommentBytes = 65535;
constexpr uint16_t kZip64Extra = 1;
constexpr uint32_t kInZip64 = 0xffffffff;
constexpr uint16_t kEncryptedFlag = 1;
constexpr uint16_t kStored = 0;
constexpr uint16_t kDeflated = 8;
// Deflate cannot do better: 258 bytes from 2 bits.
constexpr uint64_t kMaxDeflateRatio = 1032;
constexpr uint64_t kSmallEntryBytes = uint64_t{1} << 20;

using Bytes = std::span<const std::byte>;

/// Little-endian numbers at checked places.
class Fields {
 public:
  Fields(Bytes bytes, const std::string& what) : bytes_(bytes), what_(what) {}

  Bytes part(uint64_t offset, uint64_t count) const {
    if (offset > bytes_.size() || count > bytes_.size() - offset) {
      throw InputError("{}: damaged zip archive: {} bytes at offset {} lie beyond its {} bytes", what_, count,
                       offset, bytes_.size());
    }
    return bytes_.subspan(offset, count);
  }
  template <typename T>
  T number(uint64_t offset) const {
    uint64_t value = 0;
    const Bytes field = part(offset, sizeof(T));
    for (size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<uint64_t>(field[i]) << (8 * i);
    return static_cast<T>(value);
  }

 private:
  Bytes bytes_;
  const std::string& what_;
};

struct Directory {
  uint64_t entries = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

Directory find_directory(Bytes archive, const Fields& fields, const std::string& what) {
  std::optional<uint64_t> end;
  const uint64_t lowest =
      archive.size() > kEndBytes + kMaxCommentBytes ? archive.size() - kEndBytes - kMaxCommentBytes : 0;
  for (uint64_t tail = kEndBytes; tail <= archive.size() && archive.size() - tail >= lowest; ++tail) {
    const uint64_t at = archive.size() - tail;
    if (fields.number<uint32_t>(at) == kEndSignature &&
        fields.number<uint16_t>(at + 20) == tail - kEndBytes) {
      end = at;
      break;
    }
  }
  if (!end) {
    throw InputError(
        "{}: expected a zip archive's directory at its end, found none; the file may be cut short", what);
  }
  Directory directory{fields.number<uint16_t>(*end + 10), fields.number<uint32_t>(*end + 16),
                      fields.number<uint32_t>(*end + 12)};
  uint64_t limit = *end;
  const bool has_locator = *end >= kEnd64LocatorBytes &&
                           fields.number<uint32_t>(*end - kEnd64LocatorBytes) == kEnd64LocatorSignature;
  if (has_locator) {
    const uint64_t at = fields.number<uint64_t>(*end - kEnd64LocatorBytes + 8);
    if (at > *end - kEnd64LocatorBytes || fields.part(at, kEnd64Bytes).size() != kEnd64Bytes ||
        fields.number<uint32_t>(at) != kEnd64Signature) {
      throw InputError("{}: damaged zip archive: its zip64 directory is not at offset {}", what, at);
    }
    directory = {fields.number<uint64_t>(at + 32), fields.number<uint64_t>(at + 48),
                 fields.number<uint64_t>(at + 40)};
    limit = at;
  }
  if (directory.offset > limit || directory.bytes > limit - directory.offset ||
      directory.entries > directory.bytes / kCentralBytes) {
    throw InputError(
        "{}: damaged zip archive: a directory of {} entries in {} bytes at offset {} does not fit", what,
        directory.entries, directory.bytes, directory.offset);
  }
  return directory;
}

/// Sizes and place that are too large for the 32-bit fields, from the zip64 extra field.
void read_zip64_extra(const Fields& fields, uint64_t extra, uint64_t extra_end, uint64_t& size,
                      uint64_t& stored, uint64_t& offset, const std::string& what) {
  if (size != kInZip64 && stored != kInZip64 && offset != kInZip64) return;
  while (extra_end - extra >= 4) {
    const auto id = fields.number<uint16_t>(extra);
    const uint64_t next = extra + 4 + fields.number<uint16_t>(extra + 2);
    if (next > extra_end) break;
    if (id == kZip64Extra) {
      uint64_t at = extra + 4;
      for (uint64_t* value : {&size, &stored, &offset}) {
        if (*value != kInZip64) continue;
        if (next - at < 8) throw InputError("{}: damaged zip archive: short zip64 field", what);
        *value = fields.number<uint64_t>(at);
        at += 8;
      }
      return;
    }
    extra = next;
  }
  throw InputError("{}: damaged zip archive: an entry lacks its zip64 sizes", what);
}

/// The entry whose central record starts at `at`; moves `at` to the next record.
ZipEntry read_entry(Bytes archive, const Fields& fields, const Directory& directory, uint64_t& at,
                    const std::string& what) {
  if (fields.number<uint32_t>(at) != kCentralSignature) {
    throw InputError("{}: damaged zip archive: no directory record at offset {}", what, at);
  }
  const auto flags = fields.number<uint16_t>(at + 8);
  const auto method = fields.number<uint16_t>(at + 10);
  uint64_t stored = fields.number<uint32_t>(at + 20);
  uint64_t size = fields.number<uint32_t>(at + 24);
  const uint64_t name_bytes = fields.number<uint16_t>(at + 28);
  const uint64_t extra_bytes = fields.number<uint16_t>(at + 30);
  const uint64_t comment_bytes = fields.number<uint16_t>(at + 32);
  uint64_t offset = fields.number<uint32_t>(at + 42);
  const Bytes name = fields.part(at + kCentralBytes, name_bytes);
  const uint64_t extra = at + kCentralBytes + name_bytes;
  if (extra + extra_bytes + comment_bytes > directory.offset + directory.bytes) {
    throw InputError("{}: damaged zip archive: a directory record leaves the directory", what);
  }
  read_zip64_extra(fields, extra, extra + extra_bytes, size, stored, offset, what);
  at = extra + extra_bytes + comment_bytes;

  ZipEntry entry;
  entry.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  entry.size = size;
  entry.deflated = method == kDeflated;
  const std::string entry_what = what + ": " + entry.name;
  if ((flags & kEncryptedFlag) != 0) throw InputError("{}: the entry is encrypted", entry_what);
  if (method != kStored && method != kDeflated) {
    throw InputError("{}: expected a stored or deflated entry, found compression method {}", entry_what,
                     method);
  }
  // The local header has its own (often longer) extra field, which torch.save pads for alignment.
  const Fields local(archive.first(directory.offset), entry_what);
  if (local.number<uint32_t>(offset) != kLocalSignature) {
    throw InputError("{}: damaged zip archive: no entry at offset {}", entry_what, offset);
  }
  local.part(offset, kLocalBytes);
  const uint64_t begin =
      offset + kLocalBytes + local.number<uint16_t>(offset + 26) + local.number<uint16_t>(offset + 28);
  entry.data = local.part(begin, stored);
  if (!entry.deflated && size != stored) {
    throw InputError("{}: damaged zip archive: {} bytes stored, {} declared", entry_what, stored, size);
  }
  if (entry.deflated &&
      (size > std::max<uint64_t>(archive.size(), kSmallEntryBytes) || size / kMaxDeflateRatio > stored)) {
    throw InputError(
        "{}: {} stored bytes declare to inflate to {}, more than is allowed (a zip bomb?). Try: save "
        "the model again with torch.save, which stores without compression.",
        entry_what, stored, size);
  }
  return entry;
}

}  // namespace

std::vector<ZipEntry> read_zip_directory(Bytes archive, const std::string& what) {
  const Fields fields(archive, what);
  const Directory directory = find_directory(archive, fields, what);
  std::vector<ZipEntry> entries;
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    entries.push_back(read_entry(archive, fields, directory, at, what));
  }
  std::sort(entries.begin(), entries.end(),
            [](const ZipEntry& a, const ZipEntry& b) { return a.data.data() < b.data.data(); });
  const std::byte* end = archive.data();
  for (const ZipEntry& entry : entries) {
    if (entry.data.empty()) continue;
    if (entry.data.data() < end) throw InputError("{}: {}: the entry overlaps another", what, entry.name);
    end = entry.data.data() + entry.data.size();
  }
  std::sort(entries.begin(), entries.end(),
            [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(
      entries.begin(), entries.end(), [](const ZipEntry& a, const ZipEntry& b) { return a.name == b.name; });
  if (twice != entries.end()) throw InputError("{}: {}: the entry is there twice", what, twice->name);
  return entries;
}

std::vector<std::byte> inflate_record(Bytes data, uint64_t size, const std::string& what) {
  z_stream stream{};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw EnvironmentError("{}: zlib cannot start", what);
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, &inflateEnd);
  std::vector<std::byte> inflated(size);
  uint64_t taken = 0;
  int status = Z_OK;
  // zlib counts in 32 bits, so both sides go in pieces; the spare byte shows data longer than declared.
  std::byte spare{};
  while (status == Z_OK) {
    if (stream.avail_in == 0) {
      const uint64_t piece = std::min<uint64_t>(data.size() - taken, uint64_t{1} << 30);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(data.data() + taken));
      stream.avail_in = static_cast<uInt>(piece);
      taken += piece;
    }
    const uint64_t made = stream.total_out;
    if (made > size) break;
    stream.next_out = reinterpret_cast<Bytef*>(made < size ? inflated.data() + made : &spare);
    stream.avail_out =
        static_cast<uInt>(std::min<uint64_t>(std::max<uint64_t>(size - made, 1), uint64_t{1} << 30));
    status = inflate(&stream, Z_NO_FLUSH);
  }
  if (status != Z_STREAM_END || stream.total_out != size) {
    throw InputError("{}: its compressed data is damaged (expected {} bytes, found {})", what, size,
                     static_cast<uint64_t>(stream.total_out));
  }
  return inflated;
}

}  // namespace ropescope
