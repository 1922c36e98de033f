#include <algorithm>

#include <fmt/format.h>

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/prior.h"

namespace ropescope {

namespace {

/// Of a list of numbers: [numbers].
struct Columns {
  std::vector<double> mean, low, high;
  void add(const PriorNumber& number) {
    mean.push_back(number.mean);
    low.push_back(number.ci95_low);
    high.push_back(number.ci95_high);
  }
};

void write_columns(ResultWriter& writer, const std::string& group, const std::string& name,
                   const Columns& columns, const std::vector<int64_t>& shape) {
  const auto tensor = [&](const std::vector<double>& values) {
    return at::tensor(values, at::kDouble).view(shape);
  };
  writer.write(group + "/" + name, tensor(columns.mean));
  writer.write(group + "/ci95_low", tensor(columns.low));
  writer.write(group + "/ci95_high", tensor(columns.high));
}

void write_scheme(ResultWriter& writer, const SchemePrior& prior) {
  std::string name = prior.scheme;
  std::replace(name.begin(), name.end(), '/', '_');
  const std::string group = "/prior/" + name;
  writer.write(group + "/logits", prior.logits);
  writer.write(group + "/logits_by_layer", prior.logits_by_layer.to(at::kFloat));
  writer.write(group + "/attention", prior.attention);
  writer.write(group + "/attention_by_layer", prior.attention_by_layer.to(at::kFloat));
  if (prior.logits_by_head.defined()) {
    writer.write(group + "/logits_by_head", prior.logits_by_head);
    writer.write(group + "/attention_by_head", prior.attention_by_head);
  }
  const auto lengths = static_cast<int64_t>(prior.fading.size());
  Columns fading;
  std::vector<at::Tensor> by_head;
  for (const PriorNumber& number : prior.fading) {
    fading.add(number);
    by_head.push_back(number.by_head);
  }
  write_columns(writer, group + "/fading", "visual_share", fading, {lengths});
  writer.write(group + "/fading/uniform_share", at::tensor(prior.uniform_share, at::kDouble));
  at::Tensor heads = at::full({lengths, by_head.front().size(0), by_head.front().size(1)}, 0.0, at::kDouble);
  for (int64_t i = 0; i < lengths; ++i) heads[i].copy_(by_head[static_cast<size_t>(i)]);
  writer.write(group + "/fading/by_head", heads);
  for (const PriorNumber& number : prior.numbers)
    writer.write(group + "/by_head/" + number.name, number.by_head);
  writer.write(group + "/query_index", at::tensor({prior.query}, at::kLong));
  writer.attribute(group, "scheme", prior.scheme);
  writer.attribute(group, "seconds", prior.seconds);
}

}  // namespace

void write_prior(ResultWriter& writer, const PriorResult& result) {
  std::vector<std::string> schemes, names;
  Columns table;
  for (const SchemePrior& prior : result.schemes) {
    write_scheme(writer, prior);
    schemes.push_back(prior.scheme);
    for (const PriorNumber& number : prior.numbers) table.add(number);
  }
  for (const PriorNumber& number : result.schemes.front().numbers) names.push_back(number.name);
  writer.write("/prior/text_lengths", at::tensor(result.options.text_lengths, at::kLong));
  writer.write("/prior/table/scheme", schemes);
  writer.write("/prior/table/number", names);
  write_columns(writer, "/prior/table", "mean", table,
                {static_cast<int64_t>(schemes.size()), static_cast<int64_t>(names.size())});

  const Positions positions = Scheme("vanilla").positions(result.layout);
  const CellPlaces places = cell_places(result.layout);
  writer.write("/prior/layout/modality", positions.modality);
  writer.write("/prior/layout/raster", places.raster);
  writer.write("/prior/layout/row", places.row);
  writer.write("/prior/layout/column", places.column);

  const auto say = [&](const char* name, const Attribute& value) { writer.attribute("/prior", name, value); };
  say("layout", layout_text(result.layout));
  say("query_index", result.schemes.front().query);
  say("rope_theta", result.theta);
  say("rope_type", rope_type_name(result.rope.type));
  if (!result.layers.empty()) {
    say("layers", result.layers);
    say("left_out", std::string("sinks, caps of scores, scales of queries by position"));
  }
  say("heads_measured", result.head_count);
  say("interval", result.interval);
  say("order", fmt::format("schemes in /prior/table stand best first: by visual_share at text length {}, the "
                           "greatest within the trained context",
                           result.options.text_lengths[result.ordered_by]));
  say("trained_context", result.trained_context);
  say("logits",
      std::string("[keys] expected inner product mean_q^T R mean_k, mean over heads, not divided by "
                  "sqrt(head_dim); ALiBi's bias times sqrt(head_dim); NaN: hidden from the query"));
  say("attention",
      std::string("[keys] softmax of the expected scores (logits/sqrt(head_dim)) of each head, mean "
                  "over heads; not the mean of the softmax over content"));
  say("visual_share",
      std::string("attention on visual keys; fading: with so many more text tokens between the "
                  "image and the query; uniform_share: share of keys that are visual"));
  say("partner_logit",
      std::string("score of a high-resolution token on its own thumbnail token minus the score at "
                  "displacement 0"));
  say("partner_share", std::string("share of that token in the attention on all thumbnail tokens"));
  say("partner_rank", std::string("its rank among them, 1 first, ties in the middle"));
  say("sink_first", std::string("sum over the first 4 tokens of max(0, attention - 1/visible keys)"));
  say("sink_visual", std::string("largest attention on a single visual token minus 1/visible keys"));
}

}  // namespace ropescope
