#include "audit/audit_report.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/strings.h"

#include "inputs/loaded_model.h"
#include "text_table.h"

namespace ropescope::app::audit {

namespace {

/// Tokens shown before and behind the first difference.
constexpr int64_t kShownBefore = 3, kShownBehind = 6;

std::string names_of(const LooksLike& look) {
  std::vector<std::string> names;
  for (const IdMistake* mistake : look.mistakes) names.push_back(mistake->name);
  return fmt::format("{}", fmt::join(names, "+"));
}

std::string sentence_of(const LooksLike& look) {
  std::vector<std::string> sentences;
  for (const IdMistake* mistake : look.mistakes) sentences.push_back(mistake->sentence);
  std::string sentence = fmt::format("{}", fmt::join(sentences, "; and "));
  if (!look.detail.empty()) sentence += " (" + look.detail + ")";
  return sentence;
}

std::vector<std::string> sources_of(const LooksLike& look) {
  std::vector<std::string> sources;
  for (const IdMistake* mistake : look.mistakes) {
    sources.insert(sources.end(), mistake->sources.begin(), mistake->sources.end());
  }
  return sources;
}

Json looks_json(const Verdict& verdict) {
  Json looks = Json::array();
  for (const LooksLike& look : verdict.ids.looks_like) {
    looks.push_back({{"mistake", names_of(look)},
                     {"explains", look.explains},
                     {"explains_differing", look.explains_differing},
                     {"sentence", sentence_of(look)},
                     {"sources", sources_of(look)}});
  }
  if (verdict.tables && verdict.tables->looks_like != nullptr) {
    const TableMistake& mistake = *verdict.tables->looks_like;
    const std::string& detail = verdict.tables->detail;
    looks.push_back({{"mistake", mistake.name},
                     {"explains", 1.0},
                     {"explains_differing", 1.0},
                     {"sentence", mistake.sentence + (detail.empty() ? "" : " (" + detail + ")")},
                     {"sources", mistake.sources}});
  }
  return looks;
}

Json first_json(const AuditInput& input, const Verdict& verdict) {
  if (const auto& first = verdict.ids.first) {
    return {{"row", first->row},           {"token", first->token}, {"axis", first->axis},
            {"expected", first->expected}, {"found", first->found}, {"modality", first->modality},
            {"in", first->where}};
  }
  if (!verdict.tables || verdict.tables->equal) return nullptr;
  const TableReport& tables = *verdict.tables;
  const int64_t token = input.record.window.first + tables.token;
  return {{"row", tables.row},
          {"token", token},
          {"axis", "table"},
          {"channel", tables.channel},
          {"difference", tables.difference},
          {"modality", modality_of(input.prompt, tables.row, token)},
          {"in", place_of(input.prompt, tables.row, token)}};
}

std::string three(const at::Tensor& ids, int64_t row, int64_t column) {
  std::vector<std::string> numbers;
  for (int64_t axis = 0; axis < ids.size(0); ++axis) {
    numbers.push_back(fmt::format("{:g}", ids[axis][row][column].item<double>()));
  }
  return fmt::format("{}", fmt::join(numbers, " "));
}

void print_tokens(const AuditInput& input, const IdDifference& first) {
  const IdWindow& window = input.record.window;
  const at::Tensor expected = ids_of_rule(input.prompt, window);
  const std::string axes = fmt::format("{}", fmt::join(axis_names(input.prompt.axes), " "));
  TextTable table({"token", "in", "expected " + axes, "found " + axes, ""});
  const int64_t begin = std::max(window.first, first.token - kShownBefore),
                end = std::min(window.end(), first.token + kShownBehind);
  for (int64_t token = begin; token < end; ++token) {
    const bool hidden = token < input.prompt.tokens && input.prompt.hidden(first.row, token);
    const std::string wanted = hidden ? "" : three(expected, first.row, token - window.first);
    const std::string found = three(input.record.ids, first.row, token - window.first);
    table.add({std::to_string(token), hidden ? "padding" : place_of(input.prompt, first.row, token), wanted,
               found,
               token == first.token        ? "<- first"
               : hidden || wanted == found ? ""
                                           : "differs"});
  }
  fmt::print("\n{}", table.text(TableStyle::kAligned));
}

void print_looks(const Verdict& verdict) {
  const Json looks = looks_json(verdict);
  if (looks.empty()) {
    fmt::print("\nlooks like none of the mistakes that are known (ropescope audit --list)\n");
    return;
  }
  fmt::print("\nlooks like\n");
  for (const Json& look : looks) {
    fmt::print("  {} (explains {:.4g}% of the tokens, {:.4g}% of those that differ)\n    {}\n",
               look["mistake"].get<std::string>(), 100 * look["explains"].get<double>(),
               100 * look["explains_differing"].get<double>(), look["sentence"].get<std::string>());
    if (!look["sources"].empty()) {
      fmt::print("    seen in {}\n", fmt::join(look["sources"].get<std::vector<std::string>>(), ", "));
    }
  }
}

}  // namespace

Json verdict_json(const AuditInput& input, const Verdict& verdict) {
  Json json = {{"verdict", verdict.equal() ? "equal" : "different"},
               {"rule", input.prompt.rule},
               {"axes", axis_names(input.prompt.axes)},
               {"rows", input.prompt.batch},
               {"compared_tokens", verdict.ids.compared},
               {"differing_tokens", verdict.ids.differing},
               {"hidden_tokens", verdict.ids.hidden},
               {"generated_tokens", verdict.ids.generated},
               {"first_difference", first_json(input, verdict)},
               {"looks_like", looks_json(verdict)},
               {"warnings", verdict.ids.warnings},
               {"files", digests(input.files.inputs)}};
  if (const auto& tables = verdict.tables) {
    json["tables"] = {{"verdict", tables->equal ? "equal" : "different"},
                      {"form", tables->form},
                      {"largest_difference", tables->difference},
                      {"tolerance", tables->tolerance}};
  }
  return json;
}

void print_verdict(const AuditInput& input, const Verdict& verdict) {
  const AuditReport& ids = verdict.ids;
  fmt::print("{}: {} of {} differ from the ids of {}", verdict.equal() ? "equal" : "different", ids.differing,
             counted(ids.compared, "token"), input.prompt.rule);
  if (ids.generated > 0) fmt::print("; {} generated", ids.generated);
  if (ids.hidden > 0) fmt::print("; {} of padding not compared", ids.hidden);
  fmt::print("\n");
  if (const auto& tables = verdict.tables) {
    fmt::print("tables ({}): cos and sin are off by at most {:.3g}, rounding explains {:.3g}\n", tables->form,
               tables->difference, tables->tolerance);
  }
  if (const auto& first = ids.first) {
    fmt::print("first difference: row {}, token {} ({}), axis {}: expected {:g}, found {:g}\n", first->row,
               first->token, first->where, first->axis, first->expected, first->found);
    print_tokens(input, *first);
  }
  if (!verdict.equal()) print_looks(verdict);
  for (const std::string& warning : ids.warnings) fmt::print("\n{}\n", warning);
}

void list_mistakes(bool json) {
  Json all = Json::array();
  const auto add = [&](const auto& mistake, const char* of) {
    all.push_back({{"mistake", mistake.name},
                   {"of", of},
                   {"sentence", mistake.sentence},
                   {"symptom", mistake.symptom},
                   {"sources", mistake.sources}});
  };
  for (const IdMistake& mistake : known_mistakes()) add(mistake, "ids");
  for (const TableMistake& mistake : known_table_mistakes()) add(mistake, "tables");
  if (json) {
    fmt::print("{}\n", all.dump());
    return;
  }
  for (const Json& mistake : all) {
    const auto text = [&](const char* key) { return mistake.at(key).get<std::string>(); };
    fmt::print("{}{}\n  {}\n", text("mistake"), text("of") == "tables" ? " (--tables)" : "",
               text("sentence"));
    if (!text("symptom").empty()) fmt::print("  symptom: {}\n", text("symptom"));
    const auto sources = mistake.at("sources").get<std::vector<std::string>>();
    if (!sources.empty()) fmt::print("  seen in {}\n", fmt::join(sources, ", "));
  }
}

}  // namespace ropescope::app::audit
