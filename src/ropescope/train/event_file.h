// Event files, as TensorBoard reads them: records of bytes, each a protocol buffer of TensorFlow's Event.
//   record   uint64 length | uint32 masked CRC of it | bytes | uint32 masked CRC of them      (little-endian)
//   CRC      CRC-32C (Castagnoli), masked: rotated right by 15 bits, plus 0xa282ead8
// The few fields are written by hand: Debian packages the protocol-buffer library, but not TensorFlow's descriptions of
// its messages, and a generated reader of them would be a thousand times what a run needs.
// Source: tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto, framework/summary.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ropescope/core/durable_file.h"

namespace ropescope {

uint32_t crc32c(std::string_view bytes);
uint32_t masked_crc32c(std::string_view bytes);

class EventFile {
 public:
  /// Opens `file`, or begins it (its first record says what it is), and cuts off what an earlier run wrote after `step`
  /// (-1: all): scalars and pictures of later steps, and a record that is not whole. Throws InputError for a file that
  /// holds no events, EnvironmentError.
  EventFile(const std::filesystem::path& file, int64_t step);

  /// Whether anything but the first record was there and was kept.
  bool continues() const { return continues_; }
  /// Numbers of one step, rounded to float32; `seconds` since 1970.
  void scalars(int64_t step, double seconds, const std::vector<std::pair<std::string, double>>& values);
  /// Markdown, for TensorBoard's page "Text".
  void text(int64_t step, double seconds, const std::string& tag, const std::string& markdown);
  /// The bytes of a PNG file. Throws InternalError for other bytes.
  void picture(int64_t step, double seconds, const std::string& tag, const std::string& png);
  /// Waits until all of it is on the disk.
  void sync() const { file_->sync(); }

 private:
  void write(const std::string& event) const;

  std::unique_ptr<DurableFile> file_;
  bool continues_ = false;
};

}  // namespace ropescope
