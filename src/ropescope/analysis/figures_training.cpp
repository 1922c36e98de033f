#include "ropescope/analysis/figures_training.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <set>

#include <fmt/format.h>

#include "ropescope/analysis/figure_data.h"
#include "ropescope/core/errors.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;

struct TrainingCurve {
  std::string label;
  std::vector<double> step, loss, gradient_norm;
};

TrainingCurve read_curve(const ResultReader& result, const std::string& label) {
  const at::Tensor step = read_axes(result, "/train/step", 1);
  const auto column = [&](const char* name) {
    return to_vector(read_shaped(result, name, step.sizes().vec()));
  };
  return {label, to_vector(step), column("/train/loss"), column("/train/grad_norm")};
}

Panel training_panel(const std::vector<TrainingCurve>& curves, std::vector<double> TrainingCurve::*column,
                     const std::string& label, int64_t window) {
  Panel panel;
  panel.x.label = "step";
  panel.y.label = label;
  for (size_t i = 0; i < curves.size(); ++i) {
    if (curves.size() == 1) {
      panel.series.push_back(
          {"each step", curves[i].step, curves[i].*column, {}, {}, "#c8c8c8", false, false});
    }
    Series series;
    series.label = curves.size() == 1 ? fmt::format("mean of the last {}", window) : curves[i].label;
    series.x = curves[i].step;
    series.y = sliding_mean(curves[i].*column, window);
    series.colour = curve_colour(i, curves.size());
    panel.series.push_back(std::move(series));
  }
  return panel;
}

/// A run whose curve lies on an earlier one's, and would hide it, says so.
void mark_equal(std::vector<TrainingCurve>& curves) {
  std::vector<std::string> labels;
  for (const TrainingCurve& curve : curves) labels.push_back(curve.label);
  for (size_t i = 0; i < curves.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (curves[i].step != curves[j].step || curves[i].loss != curves[j].loss) continue;
      curves[i].label += " (equal to " + labels[j] + ")";
      break;
    }
  }
}

Figure figure_of_curves(std::vector<TrainingCurve> curves, int64_t window) {
  size_t longest = 1;
  for (const TrainingCurve& curve : curves) longest = std::max(longest, curve.step.size());
  window = std::min(window, static_cast<int64_t>(longest));
  mark_equal(curves);
  Figure figure;
  figure.title = curves.size() == 1 ? fmt::format("Training {}", curves[0].label)
                                    : fmt::format("Training, mean of the last {} steps", window);
  figure.panels = {
      training_panel(curves, &TrainingCurve::loss, "loss, nats a token", window),
      training_panel(curves, &TrainingCurve::gradient_norm, "gradient norm before clipping", window)};
  figure.columns = 2;
  figure.panel_height_cm = 7.0;
  return figure;
}

}  // namespace

std::vector<double> sliding_mean(const std::vector<double>& values, int64_t window) {
  if (window < 1) throw UsageError("--window: expected at least 1 step, found {}", window);
  std::vector<double> means;
  std::deque<double> inside;
  for (const double value : values) {
    inside.push_back(value);
    if (static_cast<int64_t>(inside.size()) > window) inside.pop_front();
    double sum = 0.0;
    int64_t count = 0;
    for (const double one : inside) {
      if (!std::isfinite(one)) continue;
      sum += one;
      ++count;
    }
    means.push_back(count > 0 ? sum / static_cast<double>(count) : std::nan(""));
  }
  return means;
}

fs::path training_file(const fs::path& given) {
  std::error_code ignored;
  return fs::is_directory(given, ignored) ? given / "curves.h5" : given;
}

Figure training_figure(const std::vector<TrainingRunFile>& runs, int64_t window) {
  std::vector<TrainingCurve> curves;
  std::set<std::string> labels;
  for (const TrainingRunFile& run : runs) {
    if (!labels.insert(run.label).second) {
      throw UsageError("two runs are called \"{}\". Try: --labels with a name for each", run.label);
    }
    curves.push_back(read_curve(ResultReader(training_file(run.file)), run.label));
  }
  if (curves.empty()) throw UsageError("expected at least one run");
  return figure_of_curves(curves, window);
}

Figure training_curves(const ResultReader& result, const FigureSelection&) {
  const fs::path folder = fs::absolute(result.path()).parent_path().filename();
  return figure_of_curves({read_curve(result, folder.string())}, kTrainingWindow);
}

}  // namespace ropescope
