// The records of a benchmark's data file, read one at a time: an index of places is all that stays in memory.
//   .tsv    VLMEvalKit's form: a header, pictures in base64 or as the index of another row
//   .jsonl  one object a line with the data's columns; pictures are files, named relative to the file's
//   folder
//           in `image`, `images`, `images_list`, `image_1` ... `image_7` (and MM-NIAH's choices_image_path)
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/mmbench_file.h"

namespace ropescope::eval {

class Records {
 public:
  virtual ~Records() = default;

  /// Records that can be read; those that cannot are in rejected().
  virtual int64_t size() const = 0;
  /// Number of record i in the file, from 1.
  virtual int64_t number(int64_t i) const = 0;
  /// The columns, without the content of pictures.
  virtual Json doc(int64_t i) = 0;
  /// Keys of the record's pictures, in their order; equal keys are equal pictures.
  virtual std::vector<std::string> pictures(int64_t i) = 0;
  /// The bytes of a picture file. Throws InputError if it is missing or broken.
  virtual std::string picture(const std::string& key) = 0;

  const std::vector<RejectedRecord>& rejected() const { return rejected_; }

 protected:
  std::vector<RejectedRecord> rejected_;
};

/// One line of a .jsonl file. Broken UTF-8 is replaced, and what Python writes for a missing number (NaN,
/// Infinity) is null. Throws InputError naming `what` for other text.
Json parse_record(const std::string& line, const std::string& what);

/// By the file's extension. For `benchmark` mmbench a .tsv is checked whole, pictures included. Throws
/// InputError for other files, an unclosed quote, or missing columns.
std::unique_ptr<Records> open_records(const std::filesystem::path& path, const std::string& benchmark);

}  // namespace ropescope::eval
