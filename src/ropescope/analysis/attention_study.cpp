#include "ropescope/analysis/attention_study.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>

#include <fmt/ranges.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/attention_measures.h"
#include "ropescope/analysis/figures_prior.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/probe/attention_probe.h"
#include "ropescope/rope/encoding.h"

namespace ropescope {

namespace {

/// Longest side of the picture that the result file keeps for figures, pixels.
constexpr int64_t kMostSide = 480;

double mean_of(const at::Tensor& values) { return values.nanmean().item<double>(); }

/// One input under one scheme.
class Measurement {
 public:
  Measurement(const Decoder& decoder, const AttentionStudyOptions& options,
              const std::vector<int64_t>& layers, const std::vector<int64_t>& heads)
      : decoder_(decoder), options_(options), layers_(layers), heads_(heads) {}

  struct Outcome {
    std::map<std::string, double> means;
    std::vector<double> fading, uniform;
    std::string generated;
    std::vector<QuerySet> sets;
    int64_t queries = 0, keys = 0;
    double uniform_share = 0;  ///< visual_share of the asked queries under uniform attention
  };

  Outcome run(const AttentionInput& prompt, const Scheme& scheme, const std::string& group,
              ResultWriter& writer) {
    const SequenceEncoding encoding(scheme, prompt.layout, encoded_model(decoder_.config));
    AttentionInput input = prompt;
    Outcome outcome;
    int64_t generated = 0;
    if (options_.queries.generated) {
      const std::vector<int64_t> ids = continue_greedily(decoder_, prompt, encoding, options_.max_new_tokens);
      generated = static_cast<int64_t>(ids.size());
      input = with_generated(decoder_, prompt, ids);
      if (options_.decode) outcome.generated = options_.decode(ids);
      writer.write(group + "/generated", at::tensor(ids, at::kLong));
    }
    const TokenPlaces places = token_places(prompt.layout);
    outcome.sets = choose_queries(prompt, places, options_.queries, generated, options_.decode);
    const std::vector<int64_t> asked = asked_tokens(outcome.sets);
    std::vector<QuerySet> measured = outcome.sets;
    measured.push_back(probe_queries(places, options_.probe));
    const std::vector<int64_t> queries = union_of(measured);
    outcome.queries = static_cast<int64_t>(asked.size());
    outcome.keys = input.tokens();

    const Values values = measure(input, encoding, places, {queries, asked, outcome.sets}, group, writer,
                                  outcome.uniform_share);
    const at::Tensor kept = places_in(queries, asked);
    for (const auto& [name, all] : values) {
      const at::Tensor chosen = all.index_select(2, kept);
      outcome.means[name] = mean_of(is_alignment_measure(name) ? all : chosen);
      writer.write(group + "/measures/" + name, chosen);
      if (is_alignment_measure(name) && queries != asked) {
        writer.write(group + "/alignment/" + name, all);
      }
    }
    if (queries != asked) {
      writer.write(group + "/alignment/query_index", at::tensor(queries, at::kLong));
    }
    for (const QuerySet& set : outcome.sets) {
      writer.write(group + "/sets/" + set.name, at::tensor(set.tokens, at::kLong));
    }
    return outcome;
  }

  /// Visual share of the asked queries with `count` tokens of distractor text behind the last image.
  std::pair<double, double> visual_share(const AttentionInput& prompt, const Scheme& scheme,
                                         const std::vector<QuerySet>& sets, int64_t count) {
    const AttentionInput input =
        with_distractor(decoder_, prompt, {options_.distractor.begin(), options_.distractor.begin() + count});
    const SequenceEncoding encoding(scheme, input.layout, encoded_model(decoder_.config));
    const TokenPlaces places = token_places(input.layout);
    std::vector<int64_t> queries = asked_tokens(sets);
    const int64_t place = token_behind_images(prompt.layout);
    for (int64_t& query : queries) query += query >= place ? count : 0;
    const std::vector<int64_t> visible = visible_counts(encoding, queries, input.attention_mask);
    const AttentionMeasures measures(places, encoding, input.tokens(), queries, visible, {});
    double sum = 0;
    visit_attention_rows(decoder_, input, encoding, {queries, wanted_layers()},
                         [&](int64_t, const at::Tensor& rows) {
                           sum += mean_of(measures.of(chosen_heads(rows)).at("visual_share"));
                           if (options_.layer_done) options_.layer_done();
                         });
    return {sum / static_cast<double>(layers_.size()), mean_of(measures.uniform_share())};
  }

 private:
  using Values = std::map<std::string, at::Tensor>;  // [layers, heads, queries] float64
  struct Queries {
    const std::vector<int64_t>&all,
        &asked;  // all: ascending; asked ones, in the order of asking, are among them
    const std::vector<QuerySet>& sets;
  };

  Values measure(const AttentionInput& input, const SequenceEncoding& encoding, const TokenPlaces& places,
                 const Queries& of, const std::string& group, ResultWriter& writer, double& uniform_share) {
    const std::vector<int64_t>&queries = of.all, &asked = of.asked;
    const auto layers = static_cast<int64_t>(layers_.size()), heads = static_cast<int64_t>(heads_.size());
    const auto count = static_cast<int64_t>(queries.size()), kept = static_cast<int64_t>(asked.size());
    const std::vector<int64_t> visible = visible_counts(encoding, queries, input.attention_mask);
    const AttentionMeasures measures(places, encoding, input.tokens(), queries, visible, options_.top_k);
    const at::Tensor place = places_in(queries, asked);
    if (options_.kept == KeptRows::kAll) {
      writer.create(group + "/rows", {layers, heads, kept, input.tokens()});
    } else if (options_.kept == KeptRows::kMeans) {
      for (const QuerySet& set : of.sets)
        writer.create(group + "/means/" + set.name, {layers, heads, input.tokens()});
    }
    Values values;
    for (const std::string& name : attention_measure_names(options_.top_k)) {
      values[name] = at::full({layers, heads, count}, NAN, at::kDouble);
    }
    int64_t slot = 0;
    visit_attention_rows(
        decoder_, input, encoding, {queries, wanted_layers()}, [&](int64_t, const at::Tensor& all_heads) {
          const at::Tensor rows = chosen_heads(all_heads);
          if (options_.kept == KeptRows::kAll) {
            const bool all = asked == queries;
            writer.write_part(group + "/rows", slot, all ? rows : rows.index_select(1, place));
          } else if (options_.kept == KeptRows::kMeans) {
            for (const QuerySet& set : of.sets) {
              const at::Tensor mine = rows.index_select(1, places_in(queries, set.tokens));
              writer.write_part(group + "/means/" + set.name, slot, mine.mean(1, false, at::kDouble));
            }
          }
          for (const auto& [name, numbers] : measures.of(rows)) values.at(name)[slot].copy_(numbers);
          ++slot;
          if (options_.layer_done) options_.layer_done();
        });
    writer.write(group + "/query_index", at::tensor(asked, at::kLong));
    writer.write(group + "/key_index", at::arange(input.tokens(), at::kLong));
    writer.write(group + "/layer_index", at::tensor(layers_, at::kLong));
    writer.write(group + "/head_index", at::tensor(heads_, at::kLong));
    writer.write(group + "/text_distance", measures.text_distance().index_select(0, place));
    const at::Tensor uniform = measures.uniform_share().index_select(0, place);
    writer.write(group + "/uniform_share", uniform);
    uniform_share = mean_of(uniform);
    return values;
  }

  /// Of each asked query, its place among `queries`, which ascend.
  static at::Tensor places_in(const std::vector<int64_t>& queries, const std::vector<int64_t>& asked) {
    std::vector<int64_t> place;
    for (const int64_t query : asked) {
      place.push_back(std::lower_bound(queries.begin(), queries.end(), query) - queries.begin());
    }
    return at::tensor(place, at::kLong);
  }

  std::vector<bool> wanted_layers() const {
    std::vector<bool> wanted(static_cast<size_t>(decoder_.config.num_hidden_layers), false);
    for (const int64_t layer : layers_) wanted[static_cast<size_t>(layer)] = true;
    return wanted;
  }

  at::Tensor chosen_heads(const at::Tensor& rows_HQS) const {
    const at::Tensor rows = rows_HQS.to(at::kCPU);
    if (static_cast<int64_t>(heads_.size()) == rows.size(0)) return rows;
    return rows.index_select(0, at::tensor(heads_, at::kLong));
  }

  const Decoder& decoder_;
  const AttentionStudyOptions& options_;
  const std::vector<int64_t>& layers_;
  const std::vector<int64_t>& heads_;
};

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
  Measurement measurement(decoder, options, layers, heads);
  for (int64_t i = 0; i < inputs.count; ++i) {
    const AttentionInput input = inputs.make(i);
    check_input(input, options);
    write_input(input, options, i, writer);
    result.inputs.push_back(input.name);
    result.untrained_features = result.untrained_features || input.untrained_features;
    for (size_t s = 0; s < schemes.size(); ++s) {
      SchemeAttention& scheme = result.schemes[s];
      if (options.progress) options.progress(input.name + ", " + scheme.scheme);
      const auto start = std::chrono::steady_clock::now();
      const std::string group =
          attention_group(scheme.scheme) + (i == 0 ? std::string() : "/input-" + std::to_string(i));
      const Measurement::Outcome outcome = measurement.run(input, schemes[s], group, writer);
      for (const std::string& name : names) values[s][name].push_back(outcome.means.at(name));
      scheme.generated.push_back(outcome.generated);
      if (i == 0 && s == 0) {
        for (const QuerySet& set : outcome.sets) result.query_sets.push_back(set.name);
        result.queries = outcome.queries;
        result.keys = outcome.keys;
        if (result.query_sets.size() > 1) {
          log_warning(
              "the numbers are means over the queries of {} together; ask for one of them to have its own (maps and /sets keep them apart)",
              fmt::join(result.query_sets, ", "));
        }
      }
      for (size_t l = 0; l < lengths; ++l) {
        if (options.text_lengths[l] == 0) {  // what was just measured
          fading[s][l].push_back(outcome.means.at("visual_share"));
          if (s == 0) uniform[l].push_back(outcome.uniform_share);
          continue;
        }
        if (options.progress) {
          options.progress(input.name + ", " + scheme.scheme + ", " +
                           std::to_string(options.text_lengths[l]) +
                           " tokens of text between image and question");
        }
        const auto [share, even] =
            measurement.visual_share(input, schemes[s], outcome.sets, options.text_lengths[l]);
        fading[s][l].push_back(share);
        if (s == 0) uniform[l].push_back(even);
      }
      scheme.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
  }
  for (size_t s = 0; s < schemes.size(); ++s) {
    SchemeAttention& scheme = result.schemes[s];
    for (const std::string& name : names) scheme.numbers.push_back(number_of(name, values[s][name]));
    for (size_t l = 0; l < lengths; ++l) {
      scheme.fading.push_back(number_of("visual_share", fading[s][l]));
      scheme.uniform_share.push_back(mean_interval(uniform[l]).mean);
    }
  }
  result.head_count = static_cast<int64_t>(layers.size() * heads.size());
  result.interval = inputs.count > 1
                        ? fmt::format("95%, Student t over {} inputs", inputs.count)
                        : "none: one input (heads and layers of one input are no independent observations)";
  return result;
}

}  // namespace ropescope
