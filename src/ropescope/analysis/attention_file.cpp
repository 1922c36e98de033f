#include "ropescope/analysis/attention_file.h"

#include <ATen/ops/tensor.h>

namespace ropescope {

namespace {

/// Means with their bounds, [rows, columns].
class Table {
 public:
  void add(const MeanInterval& interval) {
    mean_.push_back(interval.mean);
    low_.push_back(interval.ci95_low);
    high_.push_back(interval.ci95_high);
    count_.push_back(interval.count);
  }
  void write(ResultWriter& writer, const std::string& group, const std::string& name,
             const std::vector<int64_t>& shape) const {
    writer.write(group + "/" + name, at::tensor(mean_, at::kDouble).view(shape));
    writer.write(group + "/ci95_low", at::tensor(low_, at::kDouble).view(shape));
    writer.write(group + "/ci95_high", at::tensor(high_, at::kDouble).view(shape));
    writer.write(group + "/count", at::tensor(count_, at::kLong).view(shape));
  }

 private:
  std::vector<double> mean_, low_, high_;
  std::vector<int64_t> count_;
};

}  // namespace

void write_attention_table(ResultWriter& writer, const AttentionResult& result,
                           const AttentionStudyOptions& options) {
  std::vector<std::string> schemes, numbers;
  std::vector<double> by_input;
  Table table;
  for (const SchemeAttention& scheme : result.schemes) {
    schemes.push_back(scheme.scheme);
    writer.attribute(attention_group(scheme.scheme), "scheme", scheme.scheme);
    writer.attribute(attention_group(scheme.scheme), "seconds", scheme.seconds);
    for (const AttentionNumber& number : scheme.numbers) {
      table.add(number.over_inputs);
      by_input.insert(by_input.end(), number.by_input.begin(), number.by_input.end());
    }
    if (scheme.fading.empty()) continue;
    Table fading;
    for (const AttentionNumber& number : scheme.fading) fading.add(number.over_inputs);
    const std::string group = attention_group(scheme.scheme) + "/fading";
    fading.write(writer, group, "visual_share", {static_cast<int64_t>(scheme.fading.size())});
    writer.write(group + "/uniform_share", at::tensor(scheme.uniform_share, at::kDouble));
  }
  for (const AttentionNumber& number : result.schemes.front().numbers) numbers.push_back(number.name);
  const auto rows = static_cast<int64_t>(schemes.size()), columns = static_cast<int64_t>(numbers.size());
  writer.write("/attention/table/scheme", schemes);
  writer.write("/attention/table/number", numbers);
  table.write(writer, "/attention/table", "mean", {rows, columns});
  writer.write(
      "/attention/table/by_input",
      at::tensor(by_input, at::kDouble).view({rows, columns, static_cast<int64_t>(result.inputs.size())}));
  writer.write("/attention/inputs/name", result.inputs);
  if (!options.text_lengths.empty()) {
    writer.write("/attention/text_lengths", at::tensor(options.text_lengths, at::kLong));
  }
  const auto say = [&](const char* name, const Attribute& value) {
    writer.attribute("/attention", name, value);
  };
  say("interval", result.interval);
  say("heads_measured", result.head_count);
  say("features",
      result.untrained_features ? std::string(kUntrainedFeatures) : std::string("the model's own"));
  say("rows",
      std::string("[layers, heads, queries, keys] float32 softmax over the keys that a query may see, 0 "
                  "elsewhere, beside the fused kernel that made the hidden states"));
  say("means", std::string("[layers, heads, keys] float32: the mean of the rows of one set of queries"));
  say("measures",
      std::string("[layers, heads, queries] of the asked queries; alignment: of these and of evenly "
                  "spread high-resolution tokens"));
  say("visual_share",
      std::string("attention on visual tokens; uniform_share: the share of visible keys that are "
                  "visual; text_distance: text tokens since the last visual one"));
  say("sink_first", std::string("sum over the first 4 tokens of max(0, attention - 1/visible keys)"));
  say("sink_visual", std::string("largest attention on a single visual token minus 1/visible keys"));
  say("entropy", std::string("nats"));
  say("token_distance",
      std::string("mean |query - key| in tokens, weighted by attention; id_distance: in position "
                  "ids, the largest difference over the axes"));
  say("partner_share",
      std::string("of a high-resolution token: share of the thumbnail token that shows the same "
                  "place in its attention on the picture's thumbnail"));
  say("partner_rank",
      std::string("its rank there, 1 first, ties in the middle; hit_top<k>: share of rows where it is at "
                  "most k"));
}

}  // namespace ropescope
