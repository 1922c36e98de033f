#include "ropescope/eval/judge.h"

#include <fstream>

#include "ropescope/core/errors.h"
#include "ropescope/eval/reasoning.h"
#include "ropescope/eval/records.h"

namespace ropescope::eval {

Json judge_line(const Benchmark& benchmark, int64_t record, const Json& doc, const std::string& output,
                const Rules& rules) {
  return {{"record", record},
          {"question", benchmark.judge.question(doc, scored_text(output, rules), rules)},
          {"output", output}};
}

std::string judge_text(const std::vector<Json>& lines) {
  std::string text;
  for (const Json& line : lines) {
    text += line.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace) + "\n";
  }
  return text;
}

JudgeReplies::JudgeReplies(const std::filesystem::path& path) : name_(path.string()) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw InputError("{}: cannot be read", name_);
  int64_t number = 0;
  for (std::string line; std::getline(stream, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = name_ + ":" + std::to_string(number);
    const Json object = parse_record(line, where);
    const bool reply = object.is_object() && object.contains("answer") && object["answer"].is_string();
    if (!reply) {
      throw InputError("{}: expected an object with \"record\" and \"answer\", the judge's reply as text",
                       where);
    }
    std::optional<std::string> output;
    if (object.contains("output")) output = json_string(object, "output", where);
    const int64_t record = json_integer(object, "record", where);
    if (!replies_.emplace(record, Reply{object["answer"], output}).second) {
      throw InputError("{}: a second reply for record {}", where, record);
    }
  }
  if (stream.bad()) throw InputError("{}: reading failed", name_);
}

std::optional<std::string> JudgeReplies::find(int64_t record, const std::string& output) const {
  const auto found = replies_.find(record);
  if (found == replies_.end()) return std::nullopt;
  if (found->second.output && *found->second.output != output) {
    throw InputError("{}: the reply for record {} is about another answer than the one that is scored", name_,
                     record);
  }
  return found->second.answer;
}

}  // namespace ropescope::eval
