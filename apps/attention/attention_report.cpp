#include "attention/attention_report.h"

#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/analysis/attention_file.h"
#include "ropescope/core/json.h"
#include "ropescope/core/strings.h"

#include "attention/picture_report.h"
#include "text_table.h"

namespace ropescope::app::attention {

namespace {

struct Column {
  const char* number;
  const char* heading;
  double unit;
  int digits;
};

std::vector<Column> columns() {
  return {{"visual_share", "visual %", 100, 2},
          {"thumbnail_share", "thumbnail %", 100, 2},
          {"high_res_share", "high-res %", 100, 2},
          {"hit_top1", "hit@1 %", 100, 1},
          {"hit_top5", "hit@5 %", 100, 1},
          {"partner_rank", "partner rank", 1, 1},
          {"sink_first", "sink first %", 100, 2},
          {"sink_visual", "sink visual %", 100, 3},
          {"entropy", "entropy", 1, 3},
          {"token_distance", "token distance", 1, 1},
          {"id_distance", "id distance", 1, 1}};
}

std::string numbers_table(const AttentionResult& result, TableStyle style) {
  std::vector<Column> shown;
  for (const Column& column : columns()) {
    for (const AttentionNumber& number : result.schemes.front().numbers) {
      if (number.name == column.number && number.over_inputs.count > 0) shown.push_back(column);
    }
  }
  std::vector<std::string> header = {"scheme"};
  for (const Column& column : shown) header.emplace_back(column.heading);
  TextTable table(header);
  for (const SchemeAttention& scheme : result.schemes) {
    std::vector<std::string> row = {scheme.scheme};
    for (const Column& column : shown) {
      row.push_back(interval_text(scheme.number(column.number).over_inputs, column.unit, column.digits));
    }
    table.add(std::move(row));
  }
  return table.text(style);
}

std::string fading_table(const AttentionResult& result, const AttentionStudyOptions& options,
                         TableStyle style) {
  std::vector<std::string> header = {"visual % at text length"}, uniform = {"uniform attention"};
  for (size_t i = 0; i < options.text_lengths.size(); ++i) {
    header.push_back(std::to_string(options.text_lengths[i]));
    uniform.push_back(fmt::format("{:.2f}", 100 * result.schemes.front().uniform_share[i]));
  }
  TextTable table(header);
  for (const SchemeAttention& scheme : result.schemes) {
    std::vector<std::string> row = {scheme.scheme};
    for (const AttentionNumber& number : scheme.fading)
      row.push_back(interval_text(number.over_inputs, 100, 2));
    table.add(std::move(row));
  }
  table.add(std::move(uniform));
  return table.text(style);
}

}  // namespace

void print_attention_json(const AttentionResult& result, const AttentionStudyOptions& options,
                          const std::string& output) {
  Json schemes = Json::array();
  for (const SchemeAttention& scheme : result.schemes) {
    Json object = {{"scheme", scheme.scheme}, {"seconds", scheme.seconds}, {"measures", Json::object()}};
    for (const AttentionNumber& number : scheme.numbers)
      object["measures"][number.name] = number_json(number.over_inputs);
    if (options.queries.generated) object["generated"] = scheme.generated;
    for (size_t i = 0; i < scheme.fading.size(); ++i) {
      Json point = number_json(scheme.fading[i].over_inputs);
      point["text_length"] = options.text_lengths[i];
      point["uniform_share"] = scheme.uniform_share[i];
      object["fading"].push_back(std::move(point));
    }
    if (scheme.sinks) object["sinks"] = sinks_json(*scheme.sinks);
    if (scheme.drift) object["drift"] = drift_json(*scheme.drift);
    schemes.push_back(std::move(object));
  }
  const Json report = {{"output", output},
                       {"inputs", result.inputs},
                       {"queries", result.query_sets},
                       {"query_tokens", result.queries},
                       {"keys", result.keys},
                       {"heads", result.head_count},
                       {"interval", result.interval},
                       {"untrained_features", result.untrained_features},
                       {"schemes", schemes}};
  fmt::print("{}\n", report.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void print_attention_csv(const AttentionResult& result, const AttentionStudyOptions& options) {
  fmt::print("scheme,number,text_length,mean,ci95_low,ci95_high,inputs\n");
  for (const SchemeAttention& scheme : result.schemes) {
    const char* quote = scheme.scheme.find(',') == std::string::npos ? "" : "\"";
    const auto line = [&](const std::string& name, const std::string& length, const MeanInterval& number) {
      fmt::print("{0}{1}{0},{2},{3},{4:.9g},{5:.9g},{6:.9g},{7}\n", quote, scheme.scheme, name, length,
                 number.mean, number.ci95_low, number.ci95_high, number.count);
    };
    for (const AttentionNumber& number : scheme.numbers) line(number.name, "", number.over_inputs);
    for (size_t i = 0; i < scheme.fading.size(); ++i) {
      line("fading", std::to_string(options.text_lengths[i]), scheme.fading[i].over_inputs);
    }
  }
}

void print_attention_text(const AttentionResult& result, const AttentionStudyOptions& options,
                          const std::string& output, bool markdown) {
  const TableStyle style = markdown ? TableStyle::kMarkdown : TableStyle::kAligned;
  if (result.untrained_features) fmt::print("{}\n\n", kUntrainedFeatures);
  if (!markdown) {
    fmt::print("queries: {} ({} tokens over {} keys); means over {} heads\n",
               fmt::join(result.query_sets, ", "), result.queries, result.keys, result.head_count);
    fmt::print("intervals: {}\n\n", result.interval);
  }
  fmt::print("{}", numbers_table(result, style));
  if (!options.text_lengths.empty()) fmt::print("\n{}", fading_table(result, options, style));
  if (result.schemes.front().sinks) fmt::print("\n{}", sinks_table(result, style));
  if (result.schemes.front().drift) fmt::print("\n{}", drift_table(result, style));
  if (markdown) return;
  double seconds = 0;
  for (const SchemeAttention& scheme : result.schemes) {
    seconds += scheme.seconds;
    if (options.queries.generated)
      fmt::print("\n{}: {}\n", scheme.scheme, fmt::join(scheme.generated, " | "));
  }
  fmt::print("\n{}, {} in {:.1f} s; written to {}\n",
             counted(static_cast<int64_t>(result.inputs.size()), "input"),
             counted(static_cast<int64_t>(result.schemes.size()), "scheme"), seconds, output);
}

}  // namespace ropescope::app::attention
