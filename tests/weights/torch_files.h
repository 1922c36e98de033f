// Writes zip archives and pickles byte by byte, honest or not, for the tests of the PyTorch reader.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <zlib.h>

namespace ropescope::testing {

/// Little-endian bytes of a number.
template <typename T>
std::string le(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) {
    bytes += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i) & 0xff);
  }
  return bytes;
}

struct ZipItem {
  std::string name;
  std::string data;     ///< as stored
  uint16_t method = 0;  ///< 8: `data` is deflated
  uint64_t size = 0;    ///< declared; 0: that of `data`
  bool zip64 = false;   ///< sizes and place in the zip64 field
  uint16_t flags = 0;
};

inline std::string deflated(const std::string& text) {
  std::string packed(text.size() + 100, '\0');
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

/// A zip archive; `zip64_end` adds the zip64 directory end as archives above 4 GB have it.
inline std::string zip_archive(const std::vector<ZipItem>& items, bool zip64_end = false) {
  std::string archive;
  std::string directory;
  for (const ZipItem& item : items) {
    const uint64_t offset = archive.size();
    const uint64_t size = item.size == 0 ? item.data.size() : item.size;
    const auto in32 = [&](uint64_t value) {
      return le(item.zip64 ? uint32_t{0xffffffff} : static_cast<uint32_t>(value));
    };
    const std::string extra = item.zip64 ? le(uint16_t{1}) + le(uint16_t{24}) + le(size) +
                                               le(uint64_t{item.data.size()}) + le(offset)
                                         : "";
    const std::string common = le(uint16_t{20}) + le(item.flags) + le(item.method) + le(uint32_t{0}) +
                               le(uint32_t{0}) + in32(item.data.size()) + in32(size) +
                               le(static_cast<uint16_t>(item.name.size()));
    archive += "PK\3\4" + common + le(uint16_t{0}) + item.name + item.data;
    directory += "PK\1\2" + le(uint16_t{20}) + common + le(static_cast<uint16_t>(extra.size())) +
                 le(uint16_t{0}) + le(uint16_t{0}) + le(uint16_t{0}) + le(uint32_t{0}) + in32(offset) +
                 item.name + extra;
  }
  const uint64_t at = archive.size();
  archive += directory;
  if (zip64_end) {
    const uint64_t end = archive.size();
    archive += "PK\6\6" + le(uint64_t{44}) + le(uint16_t{45}) + le(uint16_t{45}) + le(uint32_t{0}) +
               le(uint32_t{0}) + le(uint64_t{items.size()}) + le(uint64_t{items.size()}) +
               le(uint64_t{directory.size()}) + le(at);
    archive += "PK\6\7" + le(uint32_t{0}) + le(end) + le(uint32_t{1});
  }
  const auto in16 = [&](uint64_t value) {
    return le(zip64_end ? uint16_t{0xffff} : static_cast<uint16_t>(value));
  };
  const auto in32 = [&](uint64_t value) {
    return le(zip64_end ? uint32_t{0xffffffff} : static_cast<uint32_t>(value));
  };
  archive += "PK\5\6" + le(uint16_t{0}) + le(uint16_t{0}) + in16(items.size()) + in16(items.size()) +
             in32(directory.size()) + in32(at) + le(uint16_t{0});
  return archive;
}

// Pickle pieces (protocol 2).
inline std::string p_text(const std::string& text) {
  return "X" + le(static_cast<uint32_t>(text.size())) + text;
}
inline std::string p_integer(int64_t value) { return "\x8a\x08" + le(value); }
inline std::string p_tuple(const std::vector<std::string>& items) {
  std::string tuple = "(";
  for (const std::string& item : items) tuple += item;
  return tuple + "t";
}
inline std::string p_integers(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t value : values) items.push_back(p_integer(value));
  return p_tuple(items);
}
/// A tensor as torch.save writes it.
inline std::string p_tensor(const std::string& storage, int64_t count, int64_t offset,
                            const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides,
                            const std::string& storage_type = "FloatStorage") {
  const std::string id = p_tuple({p_text("storage"), "ctorch\n" + storage_type + "\n", p_text(storage),
                                  p_text("cpu"), p_integer(count)}) +
                         "Q";
  return "ctorch._utils\n_rebuild_tensor_v2\n" +
         p_tuple({id, p_integer(offset), p_integers(sizes), p_integers(strides), "\x89",
                  "ccollections\nOrderedDict\n)R"}) +
         "R";
}
inline std::string p_dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string dict = "}(";
  for (const auto& [key, value] : items) dict += p_text(key) + value;
  return dict + "u";
}
inline std::string p_file(const std::string& root) { return "\x80\x02" + root + "."; }

}  // namespace ropescope::testing
