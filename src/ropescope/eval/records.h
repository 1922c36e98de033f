// The records of a benchmark's data file, read one at a time: an index of places is all that stays in memory.
//   .tsv    VLMEvalKit's form: a header, pictures in base64 or as the index of another row, or (without a column
//           `image`) as files named in `image_path`, relative to the file's folder
//   .jsonl  one object a line with the data's columns; pictures are files, named relative to the file's
//   folder
//           in `image`, `images`, `images_list`, `image_1` ... `image_7` (and MM-NIAH's choices_image_path)
// Clips are files (or folders of frames) in both: clips.h.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "ropescope/core/json.h"
#include "ropescope/eval/benchmark.h"
#include "ropescope/eval/clips.h"
#include "ropescope/eval/mmbench_file.h"

namespace ropescope::eval {

class Records {
 public:
  Records(const Benchmark& benchmark, const std::filesystem::path& file)
      : benchmark_(benchmark), folder_(file.parent_path()) {}
  virtual ~Records() = default;

  /// Records that can be read; those that cannot are in rejected().
  virtual int64_t size() const = 0;
  /// Number of record i in the file, from 1.
  virtual int64_t number(int64_t i) const = 0;
  /// The record in the benchmark's own columns, without the content of pictures. Where its box is in pixels and
  /// nothing says of how many, `image_size` [width, height] is that of the record's picture. Throws InputError.
  Json doc(int64_t i);
  /// What each doc gets in addition, from who knows more than the file says (the model's processor, the clips). Throws
  /// InputError for a record that cannot be used.
  void complete_with(std::function<void(int64_t i, Json& doc)> complete) { complete_ = std::move(complete); }
  /// Keys of the record's pictures, in their order; equal keys are equal pictures.
  virtual std::vector<std::string> pictures(int64_t i) = 0;
  /// Width and height of a picture in pixels. Throws as picture() and decode_image() do.
  std::array<int64_t, 2> picture_size(const std::string& key);
  /// The record's clips, in their order. Throws InputError.
  std::vector<ClipPart> clips(int64_t i) { return clips_of(record(i), folder_); }
  /// Of the data file, which clips are named relative to.
  const std::filesystem::path& folder() const { return folder_; }
  /// The bytes of a picture file. Throws InputError if it is missing or broken.
  virtual std::string picture(const std::string& key) = 0;

  const std::vector<RejectedRecord>& rejected() const { return rejected_; }

 protected:
  /// The columns as they are in the file, without the content of pictures.
  virtual Json record(int64_t i) = 0;

  const Benchmark& benchmark_;
  std::filesystem::path folder_;
  std::vector<RejectedRecord> rejected_;

 private:
  std::function<void(int64_t i, Json& doc)> complete_;
  std::unordered_map<std::string, std::array<int64_t, 2>> size_of_picture_;
};

/// One line of a .jsonl file. Broken UTF-8 is replaced, and what Python writes for a missing number (NaN,
/// Infinity) is null. Throws InputError naming `what` for other text.
Json parse_record(const std::string& line, const std::string& what);

/// By the file's extension. For MMBench a .tsv is checked whole, pictures included. Throws
/// InputError for other files, an unclosed quote, or missing columns.
std::unique_ptr<Records> open_records(const std::filesystem::path& path, const std::string& benchmark);
/// For what a benchmark is under some profile; it must outlive the records.
std::unique_ptr<Records> open_records(const std::filesystem::path& path, const Benchmark& benchmark);

/// What is wrong with a rejected record, in words: RejectedRecord::error, or the sentence of its code.
std::string rejection_text(const std::string& error);
/// "7 records: <what is wrong> (records 1, 2, 3, ...)" for each reason, the most frequent first; of more than
/// `most` reasons the last line says how many others there are.
std::vector<std::string> rejection_reasons(const std::vector<RejectedRecord>& rejected, size_t most = 5);

}  // namespace ropescope::eval
