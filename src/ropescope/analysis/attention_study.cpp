#include "ropescope/analysis/attention_study.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include <fmt/ranges.h>

#include <ATen/ops/tensor.h>

#include "ropescope/analysis/attention_measures.h"
#include "ropescope/analysis/figures_prior.h"
#include "ropescope/analysis/measured_rows.h"
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

const AttentionNumber& SchemeAttention::number(const std::string& name) const {
  for (const AttentionNumber& one : numbers) {
    if (one.name == name) return one;
  }
  throw InternalError("attention: no number \"{}\"", name);
}

KeptRows parse_kept_rows(const std::string& text) {
  if (text == "rows") return KeptRows::kAll;
  if (text == "means") return KeptRows::kMeans;
  if (text == "numbers") return KeptRows::kNone;
  throw UsageError("--keep: expected rows, means or numbers, found \"{}\"", text);
}

std::string attention_group(const std::string& scheme) { return scheme_group("/attention", scheme); }

AttentionResult study_attention(const Decoder& decoder, const AttentionInputs& inputs,
                                const AttentionStudyOptions& options, ResultWriter& writer) {
  require_qk(decoder.config, options.layers);
  const std::vector<int64_t> layers =
      options.layers.empty() ? layers_with_qk(decoder.config)
                             : chosen(options.layers, decoder.config.num_hidden_layers, "layers");
  const std::vector<int64_t> heads = chosen(options.heads, decoder.config.num_attention_heads, "heads");
  std::vector<Scheme> schemes;
  AttentionResult result;
  for (const std::string& text : options.schemes) {
    schemes.emplace_back(text);
    result.schemes.emplace_back();
    result.schemes.back().scheme = text;
  }
  const size_t lengths = options.text_lengths.size();
  const std::vector<std::string> names = attention_measure_names(options.top_k);
  // [scheme][name or length][input]
  std::vector<std::map<std::string, std::vector<double>>> values(schemes.size());
  std::vector<std::vector<std::vector<double>>> fading(schemes.size(),
                                                       std::vector<std::vector<double>>(lengths));
  std::vector<std::vector<double>> uniform(lengths);
  const AttentionStudy study{decoder, options, layers, heads, writer};
  for (int64_t i = 0; i < inputs.count; ++i) {
    const AttentionInput input = inputs.make(i);
    check_input(input, options);
    write_input(input, options, i, writer);
    result.inputs.push_back(input.name);
    result.untrained_features = result.untrained_features || input.untrained_features;
    const auto take = [&](size_t s, const MeasuredRows::Outcome& outcome) {
      for (const std::string& name : names) values[s][name].push_back(outcome.means.at(name));
      result.schemes[s].generated.push_back(outcome.generated);
      add_pictures(outcome, result.schemes[s]);
      if (i > 0 || s > 0) return;
      for (const QuerySet& set : outcome.sets) result.query_sets.push_back(set.name);
      result.queries = outcome.queries;
      result.keys = outcome.keys;
      if (result.query_sets.size() > 1) {
        log_warning(
            "the numbers are means over the queries of {} together; ask for one of them to have its own (maps and /sets keep them apart)",
            fmt::join(result.query_sets, ", "));
      }
    };
    // Passes of weights that are streamed wait for each other, so that all of them share one reading.
    const bool together = decoder.access != nullptr;
    std::vector<std::unique_ptr<MeasuredRows>> waiting;
    std::vector<std::unique_ptr<ForwardRun>> runs;
    std::vector<std::function<void()>> ends;
    const auto start_of_input = std::chrono::steady_clock::now();
    const auto measure = [&](std::unique_ptr<MeasuredRows> rows, std::function<void()> end) {
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
    for (size_t s = 0; s < schemes.size(); ++s) {
      SchemeAttention& scheme = result.schemes[s];
      if (options.progress) options.progress(input.name + ", " + scheme.scheme);
      const auto start = std::chrono::steady_clock::now();
      const std::string group =
          attention_group(scheme.scheme) + (i == 0 ? std::string() : "/input-" + std::to_string(i));
      auto asked = std::make_unique<MeasuredRows>(study, input, schemes[s], group, i);
      const std::vector<QuerySet> sets = asked->sets();
      MeasuredRows* const own = asked.get();
      measure(std::move(asked), [&, s, own] {
        const MeasuredRows::Outcome outcome = own->end();
        take(s, outcome);
        for (size_t l = 0; l < lengths; ++l) {
          if (options.text_lengths[l] != 0) continue;
          fading[s][l].push_back(outcome.means.at("visual_share"));
          if (s == 0) uniform[l].push_back(outcome.uniform_share);
        }
      });
      for (size_t l = 0; l < lengths; ++l) {
        const int64_t length = options.text_lengths[l];
        if (length == 0) continue;  // what was just measured
        if (options.progress) {
          options.progress(input.name + ", " + scheme.scheme + ", " + std::to_string(length) +
                           " tokens of text between image and question");
        }
        auto behind_text = std::make_unique<MeasuredRows>(study, input, schemes[s], sets, length);
        MeasuredRows* const of_length = behind_text.get();
        measure(std::move(behind_text), [&, s, l, of_length] {
          fading[s][l].push_back(of_length->visual_share());
          if (s == 0) uniform[l].push_back(of_length->uniform_share());
        });
      }
      scheme.seconds += seconds_from(start);
    }
    if (!together) continue;
    run_together(decoder, runs);
    runs.clear();
    for (const std::function<void()>& end : ends) end();
    for (SchemeAttention& scheme : result.schemes) {
      scheme.seconds += seconds_from(start_of_input) / static_cast<double>(schemes.size());
    }
  }
  for (size_t s = 0; s < schemes.size(); ++s) {
    SchemeAttention& scheme = result.schemes[s];
    for (const std::string& name : names) scheme.numbers.push_back(number_of(name, values[s][name]));
    for (size_t l = 0; l < lengths; ++l) {
      scheme.fading.push_back(number_of("visual_share", fading[s][l]));
      scheme.uniform_share.push_back(mean_interval(uniform[l]).mean);
    }
    write_pictures(scheme, options, writer);
  }
  result.head_count = static_cast<int64_t>(layers.size() * heads.size());
  result.interval = inputs.count > 1
                        ? fmt::format("95%, Student t over {} inputs", inputs.count)
                        : "none: one input (heads and layers of one input are no independent observations)";
  return result;
}

}  // namespace ropescope
