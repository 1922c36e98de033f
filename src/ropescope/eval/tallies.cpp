#include "ropescope/eval/tallies.h"

#include <utility>

#include "ropescope/eval/doc.h"

namespace ropescope::eval {

Json json_of(const Means& means) {
  Json object = Json::object();
  for (const auto& [name, mean] : means) object[name] = mean.json();
  return object;
}

double mean_of(const Means& means) {
  Mean mean;
  for (const auto& entry : means) mean.add(entry.second.value());
  return mean.value();
}

Reading letter_reading(std::optional<char32_t> letter, bool right) {
  return {json_letter(letter), std::nullopt, right ? 1.0 : 0.0, !letter};
}

Benchmark exact_match_benchmark(std::string name, std::string summary, std::string data,
                                std::vector<std::string> columns, decltype(Benchmark::prompt) prompt,
                                decltype(Benchmark::read) read) {
  const auto tally = [](const Rules&) -> std::unique_ptr<Tally> {
    return std::make_unique<MeanTally>("exact_match");
  };
  return {std::move(name),
          std::move(summary),
          std::move(data),
          std::move(columns),
          16,
          Json::json_pointer("/exact_match"),
          100,
          prompt,
          read,
          tally};
}

}  // namespace ropescope::eval
