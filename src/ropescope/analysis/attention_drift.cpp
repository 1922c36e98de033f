#include "ropescope/analysis/attention_drift.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

#include <boost/random/uniform_int_distribution.hpp>

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/log.h"
#include "ropescope/core/parallel.h"
#include "ropescope/core/random.h"
#include "ropescope/core/tensor_operators.h"

namespace ropescope {

namespace {

constexpr int64_t kShifts = 2 * kMostShift + 1;
/// Attention below this counts as this: its logarithm is finite, and float32 has no more to say.
constexpr double kLeastAttention = 1e-30;
/// Root mean square change of a profile below which nothing changed: some times the rounding of float32 attention.
constexpr double kLeastChange = 1e-5;

std::vector<int64_t> longest_run(const std::vector<int64_t>& tokens) {
  size_t best = 0, length = 0, begin = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0 && tokens[i] != tokens[i - 1] + 1) begin = i;
    if (i + 1 - begin > length) {
      length = i + 1 - begin;
      best = begin;
    }
  }
  const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(best);
  return {first, first + static_cast<std::ptrdiff_t>(length)};
}

std::vector<int64_t> as_they_come(int64_t tokens) {
  std::vector<int64_t> order(static_cast<size_t>(tokens));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

std::vector<int64_t> shuffled(int64_t tokens, Rng& rng) {
  std::vector<int64_t> order = as_they_come(tokens);
  for (int64_t i = tokens - 1; i > 0; --i) {
    boost::random::uniform_int_distribution<int64_t> below(0, i);
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(below(rng))]);
  }
  return order;
}

/// The smallest lag that moves the pattern by whole cells, and by how many; {1, 1} where nothing is predicted.
std::pair<int64_t, int64_t> shift_and_lag(double cells_a_token) {
  for (int64_t lag = 1; std::isfinite(cells_a_token) && lag <= 8; ++lag) {
    const double moved = cells_a_token * static_cast<double>(lag), whole = std::round(moved);
    if (whole != 0 && std::abs(moved - whole) < 0.05) return {static_cast<int64_t>(whole), lag};
  }
  return {1, 1};
}

/// Least-squares slope of values[order[i]] on i.
double slope_of(const std::vector<double>& values, const std::vector<int64_t>& order) {
  const auto n = static_cast<double>(order.size());
  double sum = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    sum += (static_cast<double>(i) - 0.5 * (n - 1)) * values[static_cast<size_t>(order[i])];
  }
  return sum / (n * (n * n - 1) / 12);
}

/// Adds to a mean over rasters.
void add_part(at::Tensor& values, const std::vector<int64_t>& place, double part) {
  double* out = values.mutable_data_ptr<double>();
  int64_t at = 0;
  for (size_t i = 0; i < place.size(); ++i) at += place[i] * values.stride(static_cast<int64_t>(i));
  out[at] = std::isnan(out[at]) ? part : out[at] + part;
}

}  // namespace

MarchingProfile::MarchingProfile(const std::vector<double>& profile, int64_t cells,
                                 const std::vector<int64_t>& order)
    : tokens_(static_cast<int64_t>(order.size())), cells_(cells) {
  profile_.reserve(order.size() * static_cast<size_t>(cells));
  for (const int64_t token : order) {
    const double* own = profile.data() + token * cells;
    profile_.insert(profile_.end(), own, own + cells);
  }
  const auto n = static_cast<double>(tokens_);
  for (int64_t r = 0; r < cells_; ++r) {
    double sum = 0, moment = 0;
    for (int64_t j = 0; j < tokens_; ++j) {
      const double value = profile_[static_cast<size_t>(j * cells_ + r)];
      sum += value;
      moment += value * (static_cast<double>(j) - 0.5 * (n - 1));
    }
    const double slope = moment / (n * (n * n - 1) / 12);
    for (int64_t j = 0; j < tokens_; ++j) {
      profile_[static_cast<size_t>(j * cells_ + r)] -=
          sum / n + slope * (static_cast<double>(j) - 0.5 * (n - 1));
    }
  }
}

double MarchingProfile::correlation(int64_t lag, int64_t shift) const {
  const int64_t first = std::max<int64_t>(0, -shift), end = std::min(cells_, cells_ - shift);
  // (in half of the grid at least: a few cells at its end correlate by chance)
  if (end - first < std::max<int64_t>(2, (cells_ + 1) / 2) || 2 * lag > tokens_) return NAN;
  const auto cells = static_cast<double>(end - first);
  double product = 0, early = 0, late = 0;
  for (int64_t j = 0; j + lag < tokens_; ++j) {
    const double* now = profile_.data() + j * cells_ + first;
    const double* then = profile_.data() + (j + lag) * cells_ + first + shift;
    double x = 0, y = 0, xy = 0, xx = 0, yy = 0;
    for (int64_t r = 0; r < end - first; ++r) {
      x += now[r];
      y += then[r];
      xy += now[r] * then[r];
      xx += now[r] * now[r];
      yy += then[r] * then[r];
    }
    product += xy - x * y / cells;
    early += xx - x * x / cells;
    late += yy - y * y / cells;
  }
  const double least = kLeastChange * kLeastChange * static_cast<double>((end - first) * (tokens_ - lag));
  return early > least && late > least ? product / std::sqrt(early * late) : NAN;
}

double MarchingProfile::likeness(int64_t lag, int64_t shift, int64_t movement) const {
  double sum = 0;
  int64_t count = 0;
  for (int64_t m = 1; m <= kLags && std::abs(m * shift) <= kMostShift; ++m) {
    // The same m for all movements: those that the predicted one has room for.
    if (!std::isfinite(correlation(m * lag, m * shift))) break;
    sum += correlation(m * lag, m * shift * movement);
    ++count;
  }
  return count > 0 ? sum / static_cast<double>(count) : NAN;
}

std::vector<PictureRaster> drift_rasters(const TokenPlaces& places) {
  std::vector<PictureRaster> rasters;
  for (PictureRaster& raster : picture_rasters(places)) {
    if (raster.kind != Modality::kHighRes && raster.complete()) rasters.push_back(std::move(raster));
  }
  return rasters;
}

DriftRows::DriftRows(const TokenPlaces& places, const std::vector<int64_t>& asked,
                     const DriftOptions& options, const DriftPrediction& predicted, int64_t layers,
                     int64_t heads)
    : rasters_(drift_rasters(places)), queries_(longest_run(queries_behind_pictures(places, asked))) {
  if (rasters_.empty()) throw UsageError("--drift: expected a picture, found text alone");
  sample_.predicted = predicted;
  sample_.tokens = static_cast<int64_t>(queries_.size());
  const std::array<double, 2> moved = {predicted.rows, predicted.columns};
  for (size_t axis = 0; axis < 2; ++axis) {
    std::tie(sample_.shift[axis], sample_.lag[axis]) = shift_and_lag(moved[axis]);
    const auto nan = [&](std::vector<int64_t> shape) { return at::full(shape, NAN, at::kDouble); };
    sample_.slope[axis] = nan({layers, heads});
    sample_.asymmetry[axis] = nan({layers, heads});
    sample_.slope_draws[axis] = nan({options.draws, layers, heads});
    sample_.asymmetry_draws[axis] = nan({options.draws, layers, heads});
    sample_.correlation[axis] = nan({layers, heads, kLags, kShifts});
    sample_.likeness[axis] = nan({layers, heads, 3});
  }
  if (sample_.tokens < kLeastDriftTokens) {
    queries_.clear();
    return;
  }
  orders_.push_back(as_they_come(sample_.tokens));
  for (int64_t draw = 0; draw < options.draws; ++draw) {
    Rng rng = make_rng(options.seed, {static_cast<uint64_t>(draw)});
    orders_.push_back(shuffled(sample_.tokens, rng));
  }
}

void DriftRows::take(int64_t slot, const at::Tensor& rows_HQS) {
  if (queries_.empty()) return;
  const at::Tensor rows = rows_HQS.to(at::kFloat).contiguous();
  const int64_t heads = rows.size(0), tokens = rows.size(2);
  const auto* data = rows.const_data_ptr<float>();
  parallel_for_each(
      heads, [&](int64_t head) { take_head(slot, head, data + head * rows.size(1) * tokens, tokens); });
}

void DriftRows::take_head(int64_t slot, int64_t head, const float* rows, int64_t tokens) {
  const int64_t count = sample_.tokens;
  const double part = 1.0 / static_cast<double>(rasters_.size());
  for (const PictureRaster& raster : rasters_) {
    const std::array<int64_t, 2> sizes = {raster.rows, raster.columns};
    for (size_t axis = 0; axis < 2; ++axis) {
      const int64_t cells = sizes[axis], across = sizes[1 - axis];
      if (cells < 3) continue;
      std::vector<double> profile(static_cast<size_t>(count * cells), 0.0),
          centre(static_cast<size_t>(count), 0.0);
      for (int64_t j = 0; j < count; ++j) {
        double mass = 0, moment = 0;
        for (size_t cell = 0; cell < raster.token.size(); ++cell) {
          const auto index = static_cast<int64_t>(cell);
          const int64_t place = axis == 0 ? index / raster.columns : index % raster.columns;
          const double a = std::max<double>(rows[j * tokens + raster.token[cell]], kLeastAttention);
          mass += a;
          moment += a * static_cast<double>(place);
          profile[static_cast<size_t>(j * cells + place)] += std::log(a) / static_cast<double>(across);
        }
        centre[static_cast<size_t>(j)] = moment / mass;
      }
      const int64_t shift = sample_.shift[axis], lag = sample_.lag[axis];
      for (size_t order = 0; order < orders_.size(); ++order) {
        const MarchingProfile marching(profile, cells, orders_[order]);
        const double forward = marching.likeness(lag, shift, 1), back = marching.likeness(lag, shift, -1);
        const double slope = slope_of(centre, orders_[order]);
        if (order > 0) {
          const auto draw = static_cast<int64_t>(order) - 1;
          add_part(sample_.asymmetry_draws[axis], {draw, slot, head}, part * (forward - back));
          add_part(sample_.slope_draws[axis], {draw, slot, head}, part * slope);
          continue;
        }
        add_part(sample_.asymmetry[axis], {slot, head}, part * (forward - back));
        add_part(sample_.slope[axis], {slot, head}, part * slope);
        add_part(sample_.likeness[axis], {slot, head, 0}, part * back);
        add_part(sample_.likeness[axis], {slot, head, 1}, part * marching.likeness(lag, shift, 0));
        add_part(sample_.likeness[axis], {slot, head, 2}, part * forward);
        for (int64_t m = 1; m <= kLags; ++m) {
          for (int64_t s = -kMostShift; s <= kMostShift; ++s) {
            const double rho = marching.correlation(m, s);
            if (std::isfinite(rho))
              add_part(sample_.correlation[axis], {slot, head, m - 1, s + kMostShift}, part * rho);
          }
        }
      }
    }
  }
}

void DriftSummary::add(const DriftSample& sample) {
  for (size_t axis = 0; axis < 2; ++axis) {
    asymmetry_[axis].add(sample.asymmetry[axis], sample.asymmetry_draws[axis]);
    slope_[axis].add(sample.slope[axis], sample.slope_draws[axis]);
  }
  samples_.push_back(sample);
  samples_.back().asymmetry_draws = {};
  samples_.back().slope_draws = {};
}

std::vector<int64_t> DriftSummary::tokens() const {
  std::vector<int64_t> tokens;
  for (const DriftSample& sample : samples_) tokens.push_back(sample.tokens);
  return tokens;
}

at::Tensor DriftSummary::mean_of(std::array<at::Tensor, 2> DriftSample::*what, size_t which) const {
  std::vector<at::Tensor> by_input;
  for (const DriftSample& sample : samples_) by_input.push_back((sample.*what)[which]);
  return at::stack(by_input, 0).nanmean({0});
}

at::Tensor DriftSummary::moves(size_t which) const {
  const at::Tensor likeness = mean_of(&DriftSample::likeness, which);
  return likeness.select(-1, 2).gt(likeness.narrow(-1, 0, 2).amax(-1));  // (false for NaN)
}

DriftSummary::Axis DriftSummary::axis(size_t which) const {
  const DriftSample& first = samples_.front();
  Axis axis;
  axis.shift = first.shift[which];
  axis.lag = first.lag[which];
  axis.predicted = which == 0 ? first.predicted.rows : first.predicted.columns;
  const at::Tensor p = asymmetry_[which].test().p_above, at_shift = moves(which);
  const at::Tensor rejected = false_discovery_rejections(p);
  axis.above = share_of_tests(p.lt(0.05), p);
  axis.at_prediction = share_of_tests(at_shift, p);
  axis.marching = share_of_tests(rejected.logical_and(at_shift), p);
  const at::Tensor slopes = slope_[which].by_input().nanmean(at::IntArrayRef({1, 2}));
  const auto* values = slopes.const_data_ptr<double>();
  axis.slope = mean_interval({values, values + slopes.numel()});
  const at::Tensor slope_p = slope_[which].test().p_two_sided;
  axis.slope_rejected = share_of_tests(false_discovery_rejections(slope_p), slope_p);
  return axis;
}

void DriftSummary::write(ResultWriter& writer, const std::string& group, const DriftOptions& options) const {
  const std::string root = group + "/drift";
  writer.write(root + "/shift", at::arange(-kMostShift, kMostShift + 1, at::kLong));
  writer.write(root + "/lag", at::arange(1, kLags + 1, at::kLong));
  writer.write(root + "/tokens", at::tensor(tokens(), at::kLong));
  const char* const names[] = {"rows", "columns"};
  for (size_t which = 0; which < 2; ++which) {
    const std::string at = root + "/" + names[which];
    const Axis numbers = axis(which);
    asymmetry_[which].write(writer, at, "asymmetry");
    slope_[which].write(writer, at + "/centre", "slope");
    writer.write(at + "/correlation", mean_of(&DriftSample::correlation, which));
    writer.write(at + "/likeness", mean_of(&DriftSample::likeness, which));
    const at::Tensor rejected = false_discovery_rejections(asymmetry_[which].test().p_above);
    writer.write(at + "/marching", rejected.logical_and(moves(which)).to(at::kByte));
    writer.attribute(at, "predicted", numbers.predicted);
    writer.attribute(at, "tested_shift", numbers.shift);
    writer.attribute(at, "lag", numbers.lag);
  }
  writer.attribute(root, "prediction", drift_kind_name(predicted().kind));
  writer.attribute(root, "phase", predicted().phase);
  writer.attribute(root, "draws", options.draws);
  writer.attribute(
      root, "null",
      std::string("the looking tokens in random order; p of the asymmetry: share of draws at or above, "
                  "one-sided; of the centre's slope two-sided"));
}

}  // namespace ropescope
