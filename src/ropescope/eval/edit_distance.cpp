#include "ropescope/eval/edit_distance.h"

#include <algorithm>
#include <numeric>

namespace ropescope::eval {

int64_t edit_distance(TextView a, TextView b) {
  std::vector<int64_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), int64_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

double anls(TextView output, const std::vector<Text>& answers) {
  const auto normal = [](TextView text) { return join(split(lower(text)), U" "); };
  const Text compared = normal(output);
  const size_t output_length = upper(output).size();
  double least = 1;
  for (const Text& answer : answers) {
    const size_t length = std::max(output_length, upper(answer).size());
    const auto distance = static_cast<double>(edit_distance(compared, normal(answer)));
    least = std::min(least, length == 0 ? 0 : distance / static_cast<double>(length));
  }
  const double score = 1 - least;
  return score < 0.5 ? 0 : score;
}

}  // namespace ropescope::eval
