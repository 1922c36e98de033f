// The long-context protocol of DIPE (arXiv 2603.10863): N distractor tokens between picture and question.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ropescope/core/json.h"

namespace ropescope::eval {

/// Text files by their names, in byte order of these: each stripped, newlines as blanks, all joined without a
/// separator.
std::string join_distractors(const std::map<std::string, std::string>& files);

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

/// Distractor, newline, question; the question alone without a distractor.
std::string with_distractor(const std::string& distractor, const std::string& question);

/// Accuracy at distance 0 minus accuracy at each distance, and the ratio to distance 0.
struct Fading {
  double drop = 0, relative = 1;
};
std::map<int64_t, Fading> fading(const std::map<int64_t, double>& accuracy_by_distance);

}  // namespace ropescope::eval
