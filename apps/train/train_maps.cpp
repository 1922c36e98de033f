#include "train/train_maps.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/picture_rasters.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/io/figure.h"
#include "ropescope/rope/encoding.h"
#include "ropescope/train/compute_type.h"
#include "ropescope/train/text_model.h"
#include "ropescope/train/vlm_batch.h"

namespace ropescope::app::train {

namespace {

// A text's map shows at most so many tokens: cells that can still be told apart.
constexpr int64_t kMostTextTokens = 96;

/// The token before the first target, else the last one; labels [T].
int64_t asking_token(const at::Tensor& labels) {
  const auto* label = labels.const_data_ptr<int64_t>();
  for (int64_t i = 1; i < labels.size(0); ++i) {
    if (label[i] >= 0) return i - 1;
  }
  return labels.size(0) - 1;
}

/// Rows [queries, T] of a pass over one sequence, mean over the layers that have any and over heads.
at::Tensor mean_rows(const Decoder& decoder, const ForwardInput& input, std::vector<int64_t> queries) {
  at::Tensor sum;
  int64_t layers = 0;
  Taps taps;
  AttentionRows rows;
  rows.query_index = std::move(queries);
  rows.sink = [&](int64_t, const at::Tensor& of_layer) {
    const at::Tensor mean = of_layer[0].to(at::kCPU, at::kDouble).mean(0);
    sum = sum.defined() ? sum.add(mean) : mean;
    ++layers;
  };
  taps.attention = rows;
  ForwardOptions options;
  options.logits = ForwardOptions::Logits::kNone;
  options.final_hidden = false;
  forward(decoder, input, options, taps);
  return sum.div(static_cast<double>(layers)).contiguous();
}

std::string title_of(const PictureRaster& raster) {
  const char* part = raster.kind == Modality::kHighRes ? "high resolution"
                     : raster.kind == Modality::kVideo ? "a frame"
                                                       : "whole";
  return fmt::format("picture {}, {}: {} x {}", raster.block + 1, part, raster.rows, raster.columns);
}

}  // namespace

SampleMaps::SampleMaps(TrainSubject& subject, const TrainSettings& settings, const std::string& row)
    : subject_(subject), settings_(settings) {
  find_row(row);
  name_ = subject_.model().row_name(index_);
  if (TrainedVlm* seeing = subject_.seeing()) {
    const VlmRow ready = seeing->ready_row(index_);
    pictures_ = !ready.items.empty();
    layout_ = batch_rows({ready}, {0}, seeing->vlm(), settings_.loss.scheme).prompt.layouts.front();
    return;
  }
  Segment text;
  text.text = std::min<int64_t>(std::abs(subject_.model().lengths().at(static_cast<size_t>(index_))),
                                kMostTextTokens);
  layout_ = Layout{"text", {text}};
}

void SampleMaps::find_row(const std::string& name) {
  const std::vector<int64_t> lengths = subject_.model().lengths();  // negative: without a picture
  for (int64_t i = 0; i < subject_.model().rows(); ++i) {
    const bool wanted =
        name.empty() ? lengths[static_cast<size_t>(i)] > 0 : subject_.model().row_name(i) == name;
    if (!wanted) continue;
    index_ = i;
    return;
  }
  if (!name.empty()) {
    throw UsageError("--log-row: expected the name of a row of --data, found \"{}\". Try: {}", name,
                     subject_.model().row_name(0));
  }
}

std::string SampleMaps::note(int64_t step) const {
  return fmt::format("step {}, row {}: mean over layers and heads", step, name_);
}

void SampleMaps::draw(int64_t step, const std::filesystem::path& png) {
  const at::NoGradGuard no_grad;
  if (pictures_) {
    draw_picture(step, png);
  } else {
    draw_text(step, png);
  }
}

void SampleMaps::draw_picture(int64_t step, const std::filesystem::path& png) {
  TrainedVlm& seeing = *subject_.seeing();
  const Vlm vlm = in_type(seeing.adapted(), settings_.loss.compute);
  const VlmRow ready = seeing.ready_row(index_);
  const VlmBatch batch = batch_rows({ready}, {0}, vlm, settings_.loss.scheme);
  ForwardInput input;
  embed(vlm, batch.prompt, see(vlm, batch.items)).give(input);
  input.encoding = &batch.encoding;
  const at::Tensor row = mean_rows(vlm.decoder, input, {asking_token(batch.labels[0].contiguous())})[0];
  const auto* share = row.const_data_ptr<double>();
  Figure figure;
  figure.title = "Attention on the pictures, of the token before the answer";
  double seen = 0;
  for (const PictureRaster& raster : picture_rasters(token_places(batch.prompt.layouts.front()))) {
    Panel panel;
    panel.title = title_of(raster);
    Raster& cells = panel.raster.emplace();
    cells.rows = raster.rows;
    cells.columns = raster.columns;
    cells.label = "share of attention";
    for (const int64_t token : raster.token) {
      cells.values.push_back(token < 0 ? std::numeric_limits<double>::quiet_NaN() : share[token]);
      if (token >= 0) seen += share[token];
    }
    figure.panels.push_back(std::move(panel));
  }
  figure.note = fmt::format("{}; {:.3f} of the attention lies on pictures", note(step), seen);
  figure.columns = static_cast<int>(std::clamp<size_t>(figure.panels.size(), 1, 2));
  draw_figure(figure, png, /*force=*/true);
}

void SampleMaps::draw_text(int64_t step, const std::filesystem::path& png) {
  std::vector<int64_t> ids = subject_.text_of(index_);
  ids.resize(std::min(ids.size(), static_cast<size_t>(kMostTextTokens)));
  const auto tokens = static_cast<int64_t>(ids.size());
  const Decoder decoder = in_type(subject_.decoder(), settings_.loss.compute);
  ForwardInput input;
  input.input_ids = at::tensor(ids, at::kLong).unsqueeze(0);
  const PassEncoding encoding = text_encoding(decoder, settings_.loss.scheme, tokens);
  input.encoding = &encoding;
  std::vector<int64_t> queries;
  for (int64_t i = 0; i < tokens; ++i) queries.push_back(i);
  const at::Tensor rows = mean_rows(decoder, input, queries);
  Panel panel;
  panel.x.label = "key";
  panel.y.label = "query";
  HeatMap& map = panel.map.emplace();
  map.rows = map.columns = tokens;
  map.is_signed = false;
  map.label = "share of attention";
  for (int64_t q = 0; q < tokens; ++q) {
    for (int64_t k = 0; k < tokens; ++k) {
      const double share = rows.const_data_ptr<double>()[q * tokens + k];
      map.values.push_back(k > q ? std::numeric_limits<double>::quiet_NaN() : share);
    }
  }
  Figure figure;
  figure.title = fmt::format("Attention among the first {} tokens", tokens);
  figure.note = note(step);
  figure.panels.push_back(std::move(panel));
  draw_figure(figure, png, /*force=*/true);
}

}  // namespace ropescope::app::train
