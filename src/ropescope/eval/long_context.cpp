#include "ropescope/eval/long_context.h"

#include <cmath>
#include <limits>

#include "ropescope/core/errors.h"
#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

std::string join_distractors(const std::map<std::string, std::string>& files) {
  std::string corpus;
  for (const auto& [name, content] : files) {
    Text text(strip(from_utf8(content)));
    for (char32_t& c : text) {
      if (c == U'\n') c = U' ';
    }
    corpus += to_utf8(text);
  }
  return corpus;
}

std::string with_distractor(const std::string& distractor, const std::string& question) {
  return distractor.empty() ? question : distractor + "\n" + question;
}

std::map<int64_t, Fading> fading(const std::map<int64_t, double>& accuracy_by_distance) {
  const auto start = accuracy_by_distance.find(0);
  if (start == accuracy_by_distance.end()) throw InputError("fading: expected a run at distance 0");
  std::map<int64_t, Fading> out;
  for (const auto& [distance, accuracy] : accuracy_by_distance) {
    const double relative =
        start->second == 0 ? std::numeric_limits<double>::quiet_NaN() : accuracy / start->second;
    out[distance] = {start->second - accuracy, relative};
  }
  return out;
}

}  // namespace ropescope::eval
