// The long-context protocol of DIPE (arXiv 2603.10863): N distractor tokens between picture and question.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "ropescope/text/tokenizer.h"

namespace ropescope::eval {

/// Text files by their names, in byte order of these: each stripped, newlines as blanks, all joined without a
/// separator.
std::string join_distractors(const std::map<std::string, std::string>& files);

/// What distractors are cut from.
struct DistractorCorpus {
  std::string name;  ///< of the file or folder
  std::string text;
  std::string sha256;  ///< of `text`
};
/// A folder: its own files, whatever their extension, hidden ones left out. A file: its documents
/// (text/corpus.h) in their order, joined in the same way. Throws InputError for no text, or a text that
/// names
/// `<image>`.
DistractorCorpus read_distractor_corpus(const std::filesystem::path& path);

/// Exactly `count` units of a corpus that starts again at its end. T: token ids, or words.
template <typename T>
std::vector<T> repeat_to(const std::vector<T>& corpus, int64_t count) {
  std::vector<T> out;
  out.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count && !corpus.empty(); ++i) {
    out.push_back(corpus[static_cast<size_t>(i) % corpus.size()]);
  }
  return out;
}

/// The corpus in a model's tokens, cut to size.
class Distractors {
 public:
  Distractors(const std::string& corpus, const Tokenizer& tokenizer);
  /// Text of exactly the first `tokens` tokens of the repeated corpus; empty for 0.
  std::string text(int64_t tokens) const;

 private:
  const Tokenizer& tokenizer_;
  std::vector<int64_t> ids_;
};

/// Distractor, newline, question; the question alone without a distractor.
std::string with_distractor(const std::string& distractor, const std::string& question);

/// Accuracy at distance 0 minus accuracy at each distance, and the ratio to distance 0.
struct Fading {
  double drop = 0, relative = 1;
};
std::map<int64_t, Fading> fading(const std::map<int64_t, double>& accuracy_by_distance);

}  // namespace ropescope::eval
