#include "ropescope/analysis/measured_rows.h"

#include <algorithm>
#include <cmath>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/log.h"
#include "ropescope/probe/attention_probe.h"

namespace ropescope {

namespace {

double mean_of(const at::Tensor& values) { return values.nanmean().item<double>(); }

/// Of each asked query, its place among `queries`, which ascend.
at::Tensor places_in(const std::vector<int64_t>& queries, const std::vector<int64_t>& asked) {
  std::vector<int64_t> place;
  for (const int64_t query : asked) {
    place.push_back(std::lower_bound(queries.begin(), queries.end(), query) - queries.begin());
  }
  return at::tensor(place, at::kLong);
}

}  // namespace

MeasuredRows::MeasuredRows(const AttentionStudy& study, const AttentionInput& prompt, const Scheme& scheme,
                           const std::string& group, int64_t number)
    : study_(study), group_(group), input_(prompt) {
  const AttentionStudyOptions& options = study_.options;
  ResultWriter& writer = study_.writer;
  encoding_.emplace(scheme, prompt.layout, encoded_model(study_.decoder.config));
  int64_t generated = 0;
  if (options.queries.generated) {
    const std::vector<int64_t> ids =
        continue_greedily(study_.decoder, prompt, *encoding_, options.max_new_tokens);
    generated = static_cast<int64_t>(ids.size());
    input_ = with_generated(study_.decoder, prompt, ids);
    if (options.decode) outcome_.generated = options.decode(ids);
    writer.write(group + "/generated", at::tensor(ids, at::kLong));
  }
  const TokenPlaces places = token_places(prompt.layout);
  outcome_.sets = choose_queries(prompt, places, options.queries, generated, options.decode);
  asked_ = asked_tokens(outcome_.sets);
  std::vector<QuerySet> measured = outcome_.sets;
  measured.push_back(probe_queries(places, options.probe));
  queries_ = union_of(measured);
  outcome_.queries = static_cast<int64_t>(asked_.size());
  outcome_.keys = input_.tokens();
  measure_queries(places, options.top_k);
  look_at_pictures(scheme, places, number);

  const auto layers = static_cast<int64_t>(study_.layers.size()),
             heads = static_cast<int64_t>(study_.heads.size());
  if (options.kept == KeptRows::kAll) {
    writer.create(group + "/rows", {layers, heads, static_cast<int64_t>(asked_.size()), input_.tokens()});
  } else if (options.kept == KeptRows::kMeans) {
    for (const QuerySet& set : outcome_.sets)
      writer.create(group + "/means/" + set.name, {layers, heads, input_.tokens()});
  }
  for (const std::string& name : attention_measure_names(options.top_k)) {
    values_[name] = at::full({layers, heads, static_cast<int64_t>(queries_.size())}, NAN, at::kDouble);
  }
}

MeasuredRows::MeasuredRows(const AttentionStudy& study, const AttentionInput& prompt, const Scheme& scheme,
                           const std::vector<QuerySet>& sets, int64_t distractor)
    : study_(study) {
  const auto& text = study_.options.distractor;
  input_ = with_distractor(study_.decoder, prompt, {text.begin(), text.begin() + distractor});
  encoding_.emplace(scheme, input_.layout, encoded_model(study_.decoder.config));
  queries_ = asked_tokens(sets);
  const int64_t place = token_behind_images(prompt.layout);
  for (int64_t& query : queries_) query += query >= place ? distractor : 0;
  measure_queries(token_places(input_.layout), {});
}

void MeasuredRows::measure_queries(const TokenPlaces& places, const std::vector<int64_t>& top_k) {
  const std::vector<int64_t> visible = visible_counts(*encoding_, queries_, input_.attention_mask);
  measures_.emplace(places, *encoding_, input_.tokens(), queries_, visible, top_k);
}

void MeasuredRows::look_at_pictures(const Scheme& scheme, const TokenPlaces& places, int64_t number) {
  const AttentionStudyOptions& options = study_.options;
  if (options.sinks) {
    sinks_.emplace(places, asked_, *options.sinks, static_cast<uint64_t>(number), study_.layers,
                   study_.heads);
  }
  if (!options.drift) return;
  std::vector<int64_t> looking = asked_;
  for (const QuerySet& set : outcome_.sets) {
    if (set.name == "generated") looking = set.tokens;
  }
  const EncodedModel model = encoded_model(study_.decoder.config);
  const EncodedLayer layer = model.of_layer(study_.layers.front());
  const std::vector<PictureRaster> rasters = drift_rasters(places);
  DriftPrediction predicted;
  if (!rasters.empty()) {
    const Positions& positions = encoding_->positions();
    const Frequencies frequencies =
        scheme.frequencies(layer.rope, layer.head_dim, layer.kv_heads, model.max_position_embeddings,
                           positions.next + static_cast<double>(options.max_new_tokens));
    const PictureRaster& raster = rasters.front();
    predicted = predict_drift(scheme, positions, frequencies, raster.token, raster.rows, raster.columns);
  }
  drift_.emplace(places, looking, *options.drift, predicted, static_cast<int64_t>(study_.layers.size()),
                 static_cast<int64_t>(study_.heads.size()));
  if (drift_->queries().empty()) {
    log_warning(
        "{}: fewer than {} consecutive tokens look from behind the pictures; the input says nothing about drift",
        input_.name, kLeastDriftTokens);
  }
}

std::unique_ptr<ForwardRun> MeasuredRows::begin() {
  AttentionRowRequest request{queries_, wanted_layers()};
  if (sinks_) {
    request.entering = [this](int64_t layer, const at::Tensor& hidden) { sinks_->entering(layer, hidden); };
    request.other_keys = [this](int64_t layer, const at::Tensor& k,
                                const AttentionRows::RowsOver& rows_over) {
      sinks_->take_null(layer, k, rows_over);
    };
  }
  return attention_run(study_.decoder, input_, *encoding_, request,
                       [this](int64_t layer, const at::Tensor& all_heads) {
                         const at::Tensor rows = chosen_heads(all_heads);
                         const auto of = [&](const std::vector<int64_t>& queries) {
                           return rows.index_select(1, places_in(queries_, queries));
                         };
                         if (sinks_) sinks_->take(layer, of(sinks_->queries()));
                         if (drift_ && !drift_->queries().empty()) drift_->take(slot_, of(drift_->queries()));
                         take(rows);
                         if (study_.options.layer_done) study_.options.layer_done();
                       });
}

void MeasuredRows::take(const at::Tensor& rows) {
  if (group_.empty()) {
    share_ += mean_of(measures_->of(rows).at("visual_share"));
    return;
  }
  keep(rows);
  for (const auto& [name, numbers] : measures_->of(rows)) values_.at(name)[slot_].copy_(numbers);
  ++slot_;
}

void MeasuredRows::keep(const at::Tensor& rows) {
  ResultWriter& writer = study_.writer;
  if (study_.options.kept == KeptRows::kAll) {
    const bool all = asked_ == queries_;
    writer.write_part(group_ + "/rows", slot_,
                      all ? rows : rows.index_select(1, places_in(queries_, asked_)));
  } else if (study_.options.kept == KeptRows::kMeans) {
    for (const QuerySet& set : outcome_.sets) {
      const at::Tensor mine = rows.index_select(1, places_in(queries_, set.tokens));
      writer.write_part(group_ + "/means/" + set.name, slot_, mine.mean(1, false, at::kDouble));
    }
  }
}

MeasuredRows::Outcome MeasuredRows::end() {
  ResultWriter& writer = study_.writer;
  const at::Tensor kept = places_in(queries_, asked_);
  writer.write(group_ + "/query_index", at::tensor(asked_, at::kLong));
  writer.write(group_ + "/key_index", at::arange(input_.tokens(), at::kLong));
  writer.write(group_ + "/layer_index", at::tensor(study_.layers, at::kLong));
  writer.write(group_ + "/head_index", at::tensor(study_.heads, at::kLong));
  writer.write(group_ + "/text_distance", measures_->text_distance().index_select(0, kept));
  const at::Tensor uniform = measures_->uniform_share().index_select(0, kept);
  writer.write(group_ + "/uniform_share", uniform);
  outcome_.uniform_share = mean_of(uniform);
  for (const auto& [name, all] : values_) {
    const at::Tensor chosen = all.index_select(2, kept);
    outcome_.means[name] = mean_of(is_alignment_measure(name) ? all : chosen);
    writer.write(group_ + "/measures/" + name, chosen);
    if (is_alignment_measure(name) && queries_ != asked_) writer.write(group_ + "/alignment/" + name, all);
  }
  if (queries_ != asked_) {
    writer.write(group_ + "/alignment/query_index", at::tensor(queries_, at::kLong));
  }
  for (const QuerySet& set : outcome_.sets) {
    writer.write(group_ + "/sets/" + set.name, at::tensor(set.tokens, at::kLong));
  }
  if (sinks_) outcome_.sinks = sinks_->finish(writer, group_);
  if (drift_) outcome_.drift = drift_->finish();
  return outcome_;
}

double MeasuredRows::visual_share() const { return share_ / static_cast<double>(study_.layers.size()); }

double MeasuredRows::uniform_share() const { return mean_of(measures_->uniform_share()); }

std::vector<bool> MeasuredRows::wanted_layers() const {
  std::vector<bool> wanted(static_cast<size_t>(study_.decoder.config.num_hidden_layers), false);
  for (const int64_t layer : study_.layers) wanted[static_cast<size_t>(layer)] = true;
  return wanted;
}

at::Tensor MeasuredRows::chosen_heads(const at::Tensor& rows_HQS) const {
  const at::Tensor rows = rows_HQS.to(at::kCPU);
  if (static_cast<int64_t>(study_.heads.size()) == rows.size(0)) return rows;
  return rows.index_select(0, at::tensor(study_.heads, at::kLong));
}

}  // namespace ropescope
