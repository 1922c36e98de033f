#include "ropescope/analysis/attention_items.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <set>

#include <fmt/ranges.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/models/forward_run.h"
#include "ropescope/rope/encoding.h"

namespace ropescope {

namespace {

/// Longest side of the picture that the result file keeps for figures, pixels.
constexpr int64_t kMostSide = 480;

std::vector<int64_t> chosen(const std::vector<int64_t>& asked, int64_t count, const char* flag) {
  std::set<int64_t> distinct(asked.begin(), asked.end());
  if (asked.empty()) {
    for (int64_t i = 0; i < count; ++i) distinct.insert(i);
  }
  if (*distinct.begin() < 0 || *distinct.rbegin() >= count) {
    throw UsageError("--{}: expected {} 0 to {}, found {}", flag, flag, count - 1,
                     *distinct.begin() < 0 ? *distinct.begin() : *distinct.rbegin());
  }
  return {distinct.begin(), distinct.end()};
}

/// Every k-th pixel, so that the longest side is at most kMostSide.
at::Tensor reduced(const at::Tensor& rgb_HW3) {
  const int64_t side = std::max(rgb_HW3.size(0), rgb_HW3.size(1));
  const int64_t step = (side + kMostSide - 1) / kMostSide;
  if (step <= 1) return rgb_HW3;
  const int64_t height = rgb_HW3.size(0) / step * step, width = rgb_HW3.size(1) / step * step;
  if (height == 0 || width == 0)
    return rgb_HW3.narrow(0, 0, std::min(kMostSide, rgb_HW3.size(0)))
        .narrow(1, 0, std::min(kMostSide, rgb_HW3.size(1)));
  return rgb_HW3.narrow(0, 0, height)
      .narrow(1, 0, width)
      .reshape({height / step, step, width / step, step, 3})
      .to(at::kFloat)
      .mean({1, 3})
      .round()
      .to(at::kByte);
}

void write_input(const AttentionInput& input, const AttentionStudyOptions& options, int64_t number,
                 ResultWriter& writer) {
  const std::string group = "/attention/inputs/" + std::to_string(number);
  const TokenPlaces places = token_places(input.layout);
  std::vector<int64_t> modality;
  for (const Modality m : places.modality) modality.push_back(static_cast<int64_t>(m));
  const auto ints = [&](const char* name, const std::vector<int64_t>& values) {
    writer.write(group + "/" + name, at::tensor(values, at::kLong).to(at::kInt));
  };
  writer.write(group + "/modality", at::tensor(modality, at::kLong).to(at::kByte));
  ints("raster", places.raster);
  ints("row", places.row);
  ints("column", places.column);
  ints("block", places.block);
  ints("partner", places.partner);
  writer.write(group + "/input_ids", input.input_ids[0]);
  writer.attribute(group, "name", input.name);
  writer.attribute(group, "layout", layout_text(input.layout));
  writer.attribute(group, "question_first", input.question_first);
  if (!input.clips.empty()) writer.attribute(group, "clips", input.clips);
  if (options.queries.word) writer.attribute(group, "word", *options.queries.word);
  for (size_t i = 0; i < input.pictures.size(); ++i) {
    const AttendedPicture& picture = input.pictures[i];
    if (!picture.rgb_HW3.defined()) continue;
    const std::string name = group + "/picture-" + std::to_string(i);
    writer.write(name, reduced(picture.rgb_HW3));
    writer.attribute(name, "name", picture.name);
    writer.attribute(name, "width", picture.width);
    writer.attribute(name, "height", picture.height);
    const bool marked = i == 0 && options.queries.region;
    if (!marked) continue;
    const PixelRegion& region = *options.queries.region;
    writer.attribute(name, "region_x", region.x);
    writer.attribute(name, "region_y", region.y);
    writer.attribute(name, "region_width", region.width);
    writer.attribute(name, "region_height", region.height);
  }
}

AttentionNumber number_of(const std::string& name, std::vector<double> by_input) {
  return {name, mean_interval(by_input), std::move(by_input)};
}

double seconds_from(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void add_pictures(const MeasuredRows::Outcome& outcome, SchemeAttention& scheme) {
  if (outcome.sinks) {
    if (!scheme.sinks) scheme.sinks.emplace();
    scheme.sinks->add(*outcome.sinks);
  }
  if (outcome.drift) {
    if (!scheme.drift) scheme.drift.emplace();
    scheme.drift->add(*outcome.drift);
  }
}

void write_pictures(const SchemeAttention& scheme, const AttentionStudyOptions& options,
                    ResultWriter& writer) {
  const std::string group = attention_group(scheme.scheme);
  if (scheme.sinks) scheme.sinks->write(writer, group, *options.sinks);
  if (!scheme.drift) return;
  const std::vector<int64_t> tokens = scheme.drift->tokens();
  if (*std::max_element(tokens.begin(), tokens.end()) < kLeastDriftTokens) {
    throw UsageError(
        "--drift: expected at least {} consecutive tokens behind the pictures that look, found {} under {}. Try: --queries "
        "generated --max-new-tokens 64 (a model may end its answer sooner), or --queries text with a longer question",
        kLeastDriftTokens, *std::max_element(tokens.begin(), tokens.end()), scheme.scheme);
  }
  scheme.drift->write(writer, group, *options.drift);
}

void check_input(const AttentionInput& input, const AttentionStudyOptions& options) {
  if (input.layout.tokens() != input.tokens()) {
    throw InternalError("attention: a layout of {} tokens for {} ids", input.layout.tokens(), input.tokens());
  }
  if (!options.text_lengths.empty() && options.queries.generated) {
    throw UsageError("--text-lengths and --queries generated: expected only one of the two");
  }
  if (options.queries.generated && options.max_new_tokens < 1) {
    throw UsageError("--max-new-tokens: expected at least 1 for --queries generated, found {}",
                     options.max_new_tokens);
  }
}

}  // namespace

AttentionItems::AttentionItems(const Decoder& decoder, const AttentionInputs& inputs,
                               const AttentionStudyOptions& options)
    : decoder_(decoder),
      inputs_(inputs),
      options_(options),
      names_(attention_measure_names(options.top_k)),
      values_(options.schemes.size()),
      share_(options.schemes.size(), std::vector<std::vector<double>>(options.text_lengths.size())),
      uniform_(options.text_lengths.size()) {
  require_qk(decoder.config, options.layers);
  layers_ = options.layers.empty() ? layers_with_qk(decoder.config)
                                   : chosen(options.layers, decoder.config.num_hidden_layers, "layers");
  heads_ = chosen(options.heads, decoder.config.num_attention_heads, "heads");
  for (const std::string& text : options.schemes) {
    schemes_.emplace_back(text);
    result_.schemes.emplace_back();
    result_.schemes.back().scheme = text;
  }
}

const AttentionInput& AttentionItems::input(int64_t number) {
  if (!made_ || made_->first != number) {
    made_.reset();  // one lies in memory
    made_.emplace(number, inputs_.make(number));
    check_input(made_->second, options_);
  }
  return made_->second;
}

std::vector<AttentionOutcome> AttentionItems::measure(int64_t number, const std::vector<size_t>& schemes,
                                                      ResultWriter& writer) {
  const AttentionInput& asked_input = input(number);
  const AttentionStudy study{decoder_, options_, layers_, heads_, writer};
  std::vector<AttentionOutcome> outcomes(schemes.size());
  // Passes of weights that are streamed wait for each other, so that all of them share one reading.
  const bool together = decoder_.access != nullptr;
  std::vector<std::unique_ptr<MeasuredRows>> waiting;
  std::vector<std::unique_ptr<ForwardRun>> runs;
  std::vector<std::function<void()>> ends;
  const auto start_of_input = std::chrono::steady_clock::now();
  const auto measure_pass = [&](std::unique_ptr<MeasuredRows> rows, std::function<void()> end) {
    std::unique_ptr<ForwardRun> run = rows->begin();
    if (together) {
      waiting.push_back(std::move(rows));
      runs.push_back(std::move(run));
      ends.push_back(std::move(end));
      return;
    }
    while (!run->finished()) run->step();
    run.reset();
    end();
  };
  for (size_t i = 0; i < schemes.size(); ++i) {
    const size_t s = schemes[i];
    const std::string& scheme = options_.schemes[s];
    if (s == 0) write_input(asked_input, options_, number, writer);
    if (options_.progress) options_.progress(asked_input.name + ", " + scheme);
    const auto start = std::chrono::steady_clock::now();
    AttentionOutcome& outcome = outcomes[i];
    outcome.input = asked_input.name;
    outcome.untrained_features = asked_input.untrained_features;
    outcome.share.resize(options_.text_lengths.size());
    outcome.uniform.resize(options_.text_lengths.size());
    const std::string group =
        attention_group(scheme) + (number == 0 ? std::string() : "/input-" + std::to_string(number));
    auto asked = std::make_unique<MeasuredRows>(study, asked_input, schemes_[s], group, number);
    const std::vector<QuerySet> sets = asked->sets();
    MeasuredRows* const own = asked.get();
    measure_pass(std::move(asked), [this, &outcome, own] {
      outcome.rows = own->end();
      for (size_t l = 0; l < options_.text_lengths.size(); ++l) {
        if (options_.text_lengths[l] != 0) continue;
        outcome.share[l] = outcome.rows.means.at("visual_share");
        outcome.uniform[l] = outcome.rows.uniform_share;
      }
    });
    for (size_t l = 0; l < options_.text_lengths.size(); ++l) {
      const int64_t length = options_.text_lengths[l];
      if (length == 0) continue;  // what was just measured
      if (options_.progress) {
        options_.progress(asked_input.name + ", " + scheme + ", " + std::to_string(length) +
                          " tokens of text between image and question");
      }
      auto behind_text = std::make_unique<MeasuredRows>(study, asked_input, schemes_[s], sets, length);
      MeasuredRows* const of_length = behind_text.get();
      measure_pass(std::move(behind_text), [&outcome, l, of_length] {
        outcome.share[l] = of_length->visual_share();
        outcome.uniform[l] = of_length->uniform_share();
      });
    }
    outcome.seconds += seconds_from(start);
  }
  if (!together) return outcomes;
  run_together(decoder_, runs);
  runs.clear();
  for (const std::function<void()>& end : ends) end();
  for (AttentionOutcome& outcome : outcomes) {
    outcome.seconds += seconds_from(start_of_input) / static_cast<double>(schemes.size());
  }
  return outcomes;
}

void AttentionItems::add(int64_t number, size_t s, const AttentionOutcome& outcome) {
  SchemeAttention& scheme = result_.schemes[s];
  if (s == 0) result_.inputs.push_back(outcome.input);
  result_.untrained_features = result_.untrained_features || outcome.untrained_features;
  for (const std::string& name : names_) values_[s][name].push_back(outcome.rows.means.at(name));
  scheme.generated.push_back(outcome.rows.generated);
  add_pictures(outcome.rows, scheme);
  scheme.seconds += outcome.seconds;
  for (size_t l = 0; l < options_.text_lengths.size(); ++l) {
    share_[s][l].push_back(outcome.share[l]);
    if (s == 0) uniform_[l].push_back(outcome.uniform[l]);
  }
  if (number > 0 || s > 0) return;
  for (const QuerySet& set : outcome.rows.sets) result_.query_sets.push_back(set.name);
  result_.queries = outcome.rows.queries;
  result_.keys = outcome.rows.keys;
  if (result_.query_sets.size() > 1) {
    log_warning(
        "the numbers are means over the queries of {} together; ask for one of them to have its own (maps and /sets keep them apart)",
        fmt::join(result_.query_sets, ", "));
  }
}

AttentionResult AttentionItems::finish(ResultWriter& writer) {
  for (size_t s = 0; s < schemes_.size(); ++s) {
    SchemeAttention& scheme = result_.schemes[s];
    for (const std::string& name : names_) scheme.numbers.push_back(number_of(name, values_[s][name]));
    for (size_t l = 0; l < options_.text_lengths.size(); ++l) {
      scheme.fading.push_back(number_of("visual_share", share_[s][l]));
      scheme.uniform_share.push_back(mean_interval(uniform_[l]).mean);
    }
    write_pictures(scheme, options_, writer);
  }
  result_.head_count = static_cast<int64_t>(layers_.size() * heads_.size());
  result_.interval = inputs_.count > 1
                         ? fmt::format("95%, Student t over {} inputs", inputs_.count)
                         : "none: one input (heads and layers of one input are no independent observations)";
  return std::move(result_);
}

}  // namespace ropescope
