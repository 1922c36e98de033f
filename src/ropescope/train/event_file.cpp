#include "ropescope/train/event_file.h"

#include <array>
#include <bit>
#include <chrono>
#include <optional>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

namespace ropescope {

namespace {

constexpr const char* kVersion = "brain.Event:2";
constexpr size_t kHead = 12, kTail = 4;  // bytes around those of a record

// Field numbers of the messages.
namespace event {
constexpr uint32_t kSeconds = 1, kStep = 2, kFileVersion = 3, kSummary = 5;
}
namespace summary {
constexpr uint32_t kValue = 1;
constexpr uint32_t kTag = 1, kSimpleValue = 2, kImage = 4, kTensor = 8, kMetadata = 9;
constexpr uint32_t kHeight = 1, kWidth = 2, kChannels = 3, kBytes = 4;  // of an image
constexpr uint32_t kPlugin = 1, kPluginName = 1;                        // of metadata
constexpr uint32_t kType = 1, kShape = 2, kStrings = 8;                 // of a tensor
constexpr uint32_t kDimension = 2, kSize = 1, kTypeOfStrings = 7;
}  // namespace summary

// A number of `bytes` bytes, lowest first.
std::string little_endian(uint64_t value, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text += static_cast<char>((value >> (8 * i)) & 0xFF);
  return text;
}

uint64_t from_little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) value |= uint64_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return value;
}

/// A message of the protocol-buffer wire format.
class Message {
 public:
  Message& number(uint32_t field, uint64_t value) {
    tag(field, 0);
    varint(value);
    return *this;
  }
  Message& fixed64(uint32_t field, double value) {
    tag(field, 1);
    bytes_ += little_endian(std::bit_cast<uint64_t>(value), 8);
    return *this;
  }
  Message& fixed32(uint32_t field, float value) {
    tag(field, 5);
    bytes_ += little_endian(std::bit_cast<uint32_t>(value), 4);
    return *this;
  }
  Message& bytes(uint32_t field, std::string_view value) {
    tag(field, 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(uint32_t field, const Message& value) { return bytes(field, value.bytes_); }
  const std::string& encoded() const { return bytes_; }

 private:
  void tag(uint32_t field, uint32_t type) { varint((field << 3) | type); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>((value & 0x7F) | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

std::optional<uint64_t> take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0; shift < 64 && !bytes.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes.front());
    bytes.remove_prefix(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if ((byte & 0x80) == 0) return value;
  }
  return std::nullopt;
}

/// The step of an event; 0 where it has none, nothing where the bytes are no message.
std::optional<int64_t> step_of(std::string_view bytes) {
  int64_t step = 0;
  while (!bytes.empty()) {
    const auto tag = take_varint(bytes);
    if (!tag) return std::nullopt;
    const uint64_t field = *tag >> 3, type = *tag & 7;
    size_t skipped = type == 1 ? 8 : type == 5 ? 4 : 0;
    if (type == 0 || type == 2) {
      const auto value = take_varint(bytes);
      if (!value) return std::nullopt;
      if (type == 0 && field == event::kStep) step = static_cast<int64_t>(*value);
      if (type == 2) skipped = static_cast<size_t>(*value);
    } else if (skipped == 0) {
      return std::nullopt;
    }
    if (skipped > bytes.size()) return std::nullopt;
    bytes.remove_prefix(skipped);
  }
  return step;
}

/// The bytes of the record at the beginning of `rest`; nothing where none is whole.
std::optional<std::string_view> record_at(std::string_view rest) {
  if (rest.size() < kHead + kTail) return std::nullopt;
  const uint64_t length = from_little_endian(rest.substr(0, 8));
  if (from_little_endian(rest.substr(8, 4)) != masked_crc32c(rest.substr(0, 8))) return std::nullopt;
  if (length > rest.size() - kHead - kTail) return std::nullopt;
  const std::string_view bytes = rest.substr(kHead, length);
  if (from_little_endian(rest.substr(kHead + length, kTail)) != masked_crc32c(bytes)) return std::nullopt;
  return bytes;
}

std::string record_of(std::string_view bytes) {
  const std::string length = little_endian(bytes.size(), 8);
  std::string record = length + little_endian(masked_crc32c(length), 4);
  record += bytes;
  return record + little_endian(masked_crc32c(bytes), 4);
}

Message event_of(int64_t step, double seconds) {
  Message begun;
  begun.fixed64(event::kSeconds, seconds).number(event::kStep, static_cast<uint64_t>(step));
  return begun;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    constexpr uint32_t kPolynomial = 0x82F63B78;  // bits reversed
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < made.size(); ++i) {
      made[i] = i;
      for (int bit = 0; bit < 8; ++bit) made[i] = (made[i] >> 1) ^ ((made[i] & 1) != 0 ? kPolynomial : 0);
    }
    return made;
  }();
  uint32_t crc = 0xFFFFFFFF;
  for (const char byte : bytes) crc = (crc >> 8) ^ table[(crc ^ static_cast<uint8_t>(byte)) & 0xFF];
  return ~crc;
}

uint32_t masked_crc32c(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u; }

EventFile::EventFile(const std::filesystem::path& file, int64_t step) {
  size_t kept = 0, records = 0;
  std::error_code code;
  if (std::filesystem::exists(file, code)) {
    const std::string all = read_file(file);
    while (const auto record = record_at(std::string_view(all).substr(kept))) {
      const auto of = step_of(*record);
      if (!of || *of > step || (records == 0 && record->find(kVersion) == std::string_view::npos)) break;
      kept += kHead + record->size() + kTail;
      ++records;
    }
    const auto first = record_at(all);
    if (!all.empty() && (!first || first->find(kVersion) == std::string_view::npos)) {
      throw InputError("{}: expected an event file (\"{}\"), found something else. Try: move it away",
                       file.string(), kVersion);
    }
  }
  continues_ = records > 1;
  file_ = std::make_unique<DurableFile>(file, kept);
  if (records > 0) return;
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  Message begin;
  begin.fixed64(event::kSeconds, now).bytes(event::kFileVersion, kVersion);
  write(begin.encoded());
}

void EventFile::write(const std::string& event) const { file_->write(record_of(event)); }

void EventFile::scalars(int64_t step, double seconds,
                        const std::vector<std::pair<std::string, double>>& values) {
  Message all;
  for (const auto& [tag, value] : values) {
    Message one;
    one.bytes(summary::kTag, tag).fixed32(summary::kSimpleValue, static_cast<float>(value));
    all.message(summary::kValue, one);
  }
  write(event_of(step, seconds).message(event::kSummary, all).encoded());
}

void EventFile::text(int64_t step, double seconds, const std::string& tag, const std::string& markdown) {
  Message plugin, metadata, size, shape, tensor, value, all;
  metadata.message(summary::kPlugin, plugin.bytes(summary::kPluginName, "text"));
  shape.message(summary::kDimension, size.number(summary::kSize, 1));
  tensor.number(summary::kType, summary::kTypeOfStrings)
      .message(summary::kShape, shape)
      .bytes(summary::kStrings, markdown);
  value.bytes(summary::kTag, tag + "/text_summary")
      .message(summary::kTensor, tensor)
      .message(summary::kMetadata, metadata);
  write(event_of(step, seconds).message(event::kSummary, all.message(summary::kValue, value)).encoded());
}

void EventFile::picture(int64_t step, double seconds, const std::string& tag, const std::string& png) {
  constexpr size_t kWidthAt = 16, kHeightAt = 20, kEnd = 24;  // in the file's first chunk, highest byte first
  if (png.size() < kEnd || png.compare(1, 3, "PNG") != 0) {
    throw InternalError("event file: {}: expected a PNG file", tag);
  }
  const auto size_at = [&](size_t place) {
    uint64_t size = 0;
    for (size_t i = 0; i < 4; ++i) size = (size << 8) | static_cast<uint8_t>(png[place + i]);
    return size;
  };
  Message image, value, all;
  image.number(summary::kHeight, size_at(kHeightAt))
      .number(summary::kWidth, size_at(kWidthAt))
      .number(summary::kChannels, 3)
      .bytes(summary::kBytes, png);
  value.bytes(summary::kTag, tag).message(summary::kImage, image);
  write(event_of(step, seconds).message(event::kSummary, all.message(summary::kValue, value)).encoded());
}

}  // namespace ropescope
