#include "ropescope/eval/reasoning.h"

#include <array>
#include <string_view>

#include "ropescope/eval/python_text.h"

namespace ropescope::eval {

std::string without_reasoning(const std::string& output) {
  struct Marks {
    std::string_view begin, end;
  };
  constexpr std::array<Marks, 2> kMarks = {Marks{"<think>", "</think>"}, Marks{"<analysis>", "</analysis>"}};
  std::string text = output;
  for (const auto& [begin, end] : kMarks) {
    while (true) {
      const size_t first = text.find(begin);
      const size_t last = first == std::string::npos ? first : text.find(end, first);
      if (last == std::string::npos) break;
      text.erase(first, last + end.size() - first);
    }
  }
  return text.size() == output.size() ? text : to_utf8(strip(from_utf8(text)));
}

std::string scored_text(const std::string& output, const Rules& rules) {
  return rules.profile == Profile::kCurrent ? without_reasoning(output) : output;
}

Reading read_answer(const Benchmark& benchmark, const Json& doc, const std::string& output,
                    const Rules& rules, const std::optional<std::string>& reply) {
  const std::string text = scored_text(output, rules);
  Reading reading = benchmark.read(doc, text, rules);
  if (reading.undecided && reply && benchmark.judge.read != nullptr) {
    return benchmark.judge.read(doc, text, *reply, rules);
  }
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) reading.unreadable = true;
  return reading;
}

}  // namespace ropescope::eval
