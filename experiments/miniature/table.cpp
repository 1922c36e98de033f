#include "table.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

#include <ATen/ops/tensor.h>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/core/errors.h"
#include "ropescope/io/figure.h"

#include "comparisons.h"
#include "compression.h"
#include "scaling.h"

namespace ropescope::miniature {

namespace {

std::array<int64_t, 2> count_of(const Json& point, const char* album, const char* kind,
                                const std::string& what) {
  const auto found = point.find(album);
  if (found == point.end() || !found->is_object() || !found->contains(kind)) {
    throw InputError("{}: a point of \"curve\": expected \"{}\" with \"{}\"", what, album, kind);
  }
  const Json& score = (*found)[kind];
  const int64_t right = json_integer(score, "right", what), asked = json_integer(score, "asked", what);
  // (Of compressed pictures there may be no token that lies in one cell.)
  const bool may_be_none = std::string(kind) == "correspondence";
  if (asked < (may_be_none ? 0 : 1) || right < 0 || right > asked)
    throw InputError("{}: a share of {} in {}", what, right, asked);
  return {right, asked};
}

std::vector<int64_t> integers_of(const Json& json, const char* key, const std::string& what) {
  std::vector<int64_t> list;
  if (!json.contains(key)) return list;
  if (!json[key].is_array()) throw InputError("{}: \"{}\": expected a list of lengths", what, key);
  for (const Json& value : json[key]) {
    if (!value.is_number_integer()) throw InputError("{}: \"{}\": expected whole numbers", what, key);
    list.push_back(value.get<int64_t>());
  }
  return list;
}

double first_solved(const Run& run) {
  const std::vector<double>& answers = run.curves[2];
  for (size_t i = 0; i < answers.size(); ++i) {
    if (answers[i] >= kSolved) return static_cast<double>(run.steps[i]);
  }
  return std::nan("");
}

double within(double share) { return std::clamp(share, 0.0, 1.0); }

/// Mean and interval over the runs at every step; a run that ended with everything right stays where it was.
struct Curve {
  std::vector<double> steps, mean, low, high;
};

Curve mean_curve(const Row& row, size_t measure) {
  Curve curve;
  const Run& longest = *std::max_element(row.runs.begin(), row.runs.end(), [](const Run& a, const Run& b) {
    return a.steps.size() < b.steps.size();
  });
  for (size_t i = 0; i < longest.steps.size(); ++i) {
    std::vector<double> values;
    for (const Run& run : row.runs) {
      if (i < run.steps.size() && run.steps[i] == longest.steps[i]) {
        values.push_back(run.curves[measure][i]);
      } else if (run.stopped && run.steps.back() < longest.steps[i]) {
        values.push_back(run.curves[measure].back());  // it had nothing more to learn
      }
    }
    const MeanInterval interval = mean_interval(values);
    curve.steps.push_back(static_cast<double>(longest.steps[i]));
    curve.mean.push_back(interval.mean);
    curve.low.push_back(std::isfinite(interval.ci95_low) ? within(interval.ci95_low) : interval.mean);
    curve.high.push_back(std::isfinite(interval.ci95_high) ? within(interval.ci95_high) : interval.mean);
  }
  return curve;
}

/// The scheme that ID-Align was added to, so that both get one colour. On plain positions that is ID-Align as it is meant alone: with
/// another resize or other newlines it is a curve of its own.
std::string family(const std::string& scheme) {
  const std::string base = without_alignment(scheme);
  return base.empty() || (base == "vanilla" && scheme != "id-align") ? scheme : base;
}

/// Whether a picture's thumbnail comes after its tiles, so that it is the thumbnail that is asked.
bool is_thumbnail_last(const Row& row) { return row.world.order == Order::kInternvl; }

std::string steps_text(const Row& row) {
  if (row.steps_to_solved.empty()) return fmt::format("— (0/{})", row.runs.size());
  const MeanInterval interval = mean_interval(row.steps_to_solved);
  return fmt::format("{:.0f} ({}/{})", interval.mean, row.steps_to_solved.size(), row.runs.size());
}

}  // namespace

void check_is_run(const Json& json, const std::string& what) {
  if (!json.is_object() || json_string_or(json, "format", "", what) != "ropescope-miniature") {
    throw InputError("{}: expected the result of a run of the miniature", what);
  }
}

Run parse_run(const Json& json, const std::string& what) {
  check_is_run(json, what);
  Run run;
  // (Results of former versions name the order alone.)
  Json world = json.contains("world") ? json["world"] : Json::object();
  if (world.is_object()) world["order"] = json_string_or(json, "order", "llava-next", what);
  run.world = world_from(world, what);
  const Json& settings = json.contains("settings") ? json["settings"] : Json();
  run.scheme = json_string(settings, "scheme", what);
  run.correspondence = json_number(settings, "correspondence", what);
  run.seed = json_integer(settings, "seed", what);
  run.map = json_string_or(settings, "map", "", what);
  try {
    run.compress = compression_text(parse_compression(json_string_or(settings, "compress", "", what),
                                                      json_string_or(settings, "merged_id", "", what)));
  } catch (const UsageError& error) {
    throw InputError("{}: {}", what, error.what());
  }
  const int64_t questions =
      settings.contains("questions") ? json_integer(settings, "questions", what) : kQuestions;
  run.distractors = integers_of(settings, "distractor_lengths", what);
  run.longest = longest_sequence(run.world, questions);
  if (!run.distractors.empty()) {
    run.longest += *std::max_element(run.distractors.begin(), run.distractors.end());
  }
  run.scaling = scaling_text(parse_rope_scaling(json.value("scaling", Json()), RopeConfig{}, what));
  if (settings.contains("steps")) run.planned = json_integer(settings, "steps", what);
  run.stopped = json.contains("stopped") && json["stopped"].is_boolean() && json["stopped"].get<bool>();
  run.theta = json_number(json, "theta", what);
  run.seconds = json_number_or(json, "seconds", 0, what);
  run.curves.resize(kMeasures);
  run.counts.resize(kMeasures);
  if (!json.contains("curve") || !json["curve"].is_array() || json["curve"].empty()) {
    throw InputError("{}: expected a curve", what);
  }
  for (const Json& point : json["curve"]) {
    run.steps.push_back(json_integer(point, "step", what));
    size_t m = 0;
    for (const char* kind : {"correspondence", "answers"}) {
      for (const char* album : kGrids) {
        const std::array<int64_t, 2> count = count_of(point, album, kind, what);
        run.counts[m].push_back(count);
        run.curves[m++].push_back(static_cast<double>(count[0]) / static_cast<double>(count[1]));
      }
    }
  }
  if (!run.compress.empty()) {
    for (const char* kind : {"tokens_left", "cells_left"}) {
      for (const char* album : kGrids) {
        const auto [left, all] = count_of(json["curve"].back(), album, kind, what);
        run.left.push_back(static_cast<double>(left) / static_cast<double>(all));
      }
    }
  }
  if (json.contains("gaze")) {
    run.gaze.emplace();
    for (size_t i = 0; i < kGrids.size(); ++i) {
      (*run.gaze)[i] = gaze_from(json["gaze"].value(kGrids[i], Json()), what);
    }
  }
  return run;
}

std::vector<Row> make_rows(const std::vector<Run>& runs, const std::vector<std::string>& order) {
  using Key = std::tuple<double, size_t, std::string, std::string, std::string, double, std::string, int64_t>;
  std::map<Key, Row> rows;
  for (const Run& run : runs) {
    if (run.world != runs.front().world) {
      throw InputError("results of runs: expected pictures of one kind, found \"{}\" and \"{}\"",
                       world_text(runs.front().world), world_text(run.world));
    }
    const auto place = static_cast<size_t>(std::find(order.begin(), order.end(), run.scheme) - order.begin());
    Row& row = rows[{-run.correspondence, place, run.scheme, run.map, run.compress, run.theta, run.scaling,
                     run.planned}];
    row.world = run.world;
    row.map = run.map;
    row.compress = run.compress;
    row.steps = run.planned;
    row.scheme = run.scheme;
    row.theta = run.theta;
    row.scaling = run.scaling;
    row.correspondence = run.correspondence;
    row.runs.push_back(run);
  }
  std::vector<Row> list;
  for (auto& [key, row] : rows) {
    std::sort(row.runs.begin(), row.runs.end(), [](const Run& a, const Run& b) { return a.seed < b.seed; });
    const auto twice = std::adjacent_find(row.runs.begin(), row.runs.end(),
                                          [](const Run& a, const Run& b) { return a.seed == b.seed; });
    if (twice != row.runs.end()) {
      throw InputError("results of runs: expected one of {}{} at theta {} with seed {}, found two",
                       row.scheme, detail_of(row), theta_text(row), twice->seed);
    }
    for (size_t m = 0; m < kMeasures; ++m) {
      std::vector<double> values;
      for (const Run& run : row.runs) values.push_back(run.curves[m].back());
      row.measures.push_back(mean_interval(values));
    }
    for (const Run& run : row.runs) {
      if (const double step = first_solved(run); std::isfinite(step)) row.steps_to_solved.push_back(step);
    }
    list.push_back(std::move(row));
  }
  return list;
}

std::string detail_text(const std::string& map, const std::string& compress) {
  if (map.empty() && compress.empty()) return "";
  const bool both = !map.empty() && !compress.empty();
  return fmt::format(" ({}{}{})", map, both ? ", " : "", compress);
}

std::string detail_of(const Row& row) { return detail_text(row.map, row.compress); }

std::string theta_text(const Row& row) {
  return number_label(row.theta) + (row.scaling.empty() ? "" : " " + row.scaling);
}

std::string targets_text(const Row& row) { return row.correspondence > 0 ? "answers and cells" : "answers"; }

std::string share_text(const MeanInterval& interval) {
  if (!std::isfinite(interval.mean)) return "—";
  if (!std::isfinite(interval.ci95_low)) return fmt::format("{:.2f}", interval.mean);
  return fmt::format("{:.2f} [{:.2f}, {:.2f}]", interval.mean, within(interval.ci95_low),
                     within(interval.ci95_high));
}

std::string markdown_table(const std::vector<Row>& rows) {
  std::string text =
      "| scheme | θ | targets | correspondence, seen grids | unseen | answers, seen grids | unseen | steps "
      "to 90% | "
      "seeds |\n|---|---|---|---|---|---|---|---|---|\n";
  for (const Row& row : rows) {
    text += fmt::format("| {}{} | {} | {} ", row.scheme, detail_of(row), theta_text(row), targets_text(row));
    for (const MeanInterval& interval : row.measures) text += "| " + share_text(interval) + " ";
    text += fmt::format("| {} | {} |\n", steps_text(row), row.runs.size());
  }
  return text;
}

std::string csv_table(const std::vector<Row>& rows) {
  std::string text = "scheme,map,compress,theta,correspondence_weight,seeds";
  for (const char* name : kMeasureNames) text += fmt::format(",{0},{0}_low,{0}_high", name);
  text += ",solved_runs,steps_to_90,scaling\n";
  for (const Row& row : rows) {
    text += fmt::format("\"{}\",\"{}\",\"{}\",{:g},{:g},{}", row.scheme, row.map, row.compress, row.theta,
                        row.correspondence, row.runs.size());
    for (const MeanInterval& interval : row.measures) {
      text += fmt::format(",{:.5f},{:.5f},{:.5f}", interval.mean, interval.ci95_low, interval.ci95_high);
    }
    const double steps = row.steps_to_solved.empty() ? std::nan("") : mean_interval(row.steps_to_solved).mean;
    text += fmt::format(",{},{:.1f},{}\n", row.steps_to_solved.size(), steps, row.scaling);
  }
  return text;
}

std::string runs_csv(const std::vector<Row>& rows) {
  std::string text =
      "order,task,side,glyphs,finer,scheme,map,compress,theta,scaling,correspondence_weight,seed,planned_steps,step";
  for (const char* name : kMeasureNames) text += fmt::format(",{0}_right,{0}_asked", name);
  text += ",thumbnail_patch\n";
  for (const Row& row : rows) {
    const World& world = row.world;
    for (const Run& run : row.runs) {
      for (size_t i = 0; i < run.steps.size(); ++i) {
        text += fmt::format("{},{},{},{},{},\"{}\",\"{}\",\"{}\",{:g},{},{:g},{},{},{}",
                            order_name(world.order), task_name(world.task), world.side, world.glyphs,
                            world.finer, row.scheme, row.map, row.compress, row.theta, row.scaling,
                            row.correspondence, run.seed, run.planned, run.steps[i]);
        for (const auto& counts : run.counts) text += fmt::format(",{},{}", counts[i][0], counts[i][1]);
        text += fmt::format(",{}\n", world.thumbnail_patch);
      }
    }
  }
  return text;
}

void write_rows(const std::filesystem::path& file, const std::vector<Row>& rows, const Provenance& provenance,
                const std::function<void(ResultWriter&)>& more) {
  ResultWriter writer(file, provenance, /*force=*/true);
  std::vector<std::string> schemes, maps, compressions, scalings;
  std::vector<double> thetas, weights, steps;
  std::vector<int64_t> seeds, solved;
  for (const Row& row : rows) {
    schemes.push_back(row.scheme);
    maps.push_back(row.map);
    compressions.push_back(row.compress);
    thetas.push_back(row.theta);
    scalings.push_back(row.scaling);
    weights.push_back(row.correspondence);
    seeds.push_back(static_cast<int64_t>(row.runs.size()));
    solved.push_back(static_cast<int64_t>(row.steps_to_solved.size()));
    steps.push_back(row.steps_to_solved.empty() ? std::nan("") : mean_interval(row.steps_to_solved).mean);
  }
  writer.write("/miniature/scheme", schemes);
  writer.write("/miniature/map", maps);
  writer.write("/miniature/compress", compressions);
  writer.write("/miniature/theta", at::tensor(thetas, at::kDouble));
  writer.write("/miniature/scaling", scalings);
  writer.write("/miniature/correspondence_weight", at::tensor(weights, at::kDouble));
  writer.write("/miniature/seeds", at::tensor(seeds, at::kLong));
  writer.write("/miniature/solved_runs", at::tensor(solved, at::kLong));
  writer.write("/miniature/steps_to_90", at::tensor(steps, at::kDouble));
  for (size_t m = 0; m < kMeasures; ++m) {
    std::vector<double> values;
    for (const Row& row : rows) {
      const MeanInterval& interval = row.measures[m];
      values.insert(values.end(), {interval.mean, interval.ci95_low, interval.ci95_high});
    }
    writer.write(fmt::format("/miniature/{}", kMeasureNames[m]),
                 at::tensor(values, at::kDouble).view({-1, 3}));
  }
  for (size_t r = 0; r < rows.size(); ++r) {
    const std::string group = fmt::format("/curves/{}", r);
    for (size_t m = 0; m < kMeasures; ++m) {
      const Curve curve = mean_curve(rows[r], m);
      if (m == 0) writer.write(group + "/step", at::tensor(curve.steps, at::kDouble));
      std::vector<double> values;
      for (size_t i = 0; i < curve.steps.size(); ++i) {
        values.insert(values.end(), {curve.mean[i], curve.low[i], curve.high[i]});
      }
      writer.write(fmt::format("{}/{}", group, kMeasureNames[m]),
                   at::tensor(values, at::kDouble).view({-1, 3}));
    }
    writer.attribute(group, "scheme", rows[r].scheme);
    writer.attribute(group, "map", rows[r].map);
    writer.attribute(group, "compress", rows[r].compress);
    writer.attribute(group, "theta", rows[r].theta);
    writer.attribute(group, "scaling", rows[r].scaling);
  }
  if (more) more(writer);
  writer.commit();
}

void draw_rows(const std::filesystem::path& file, const std::vector<Row>& rows, double theta) {
  // An encoding with and without ID-Align has one colour; a wrong map is a curve of its own.
  const auto hue = [](const Row& row) {
    return row.map.empty() && row.compress.empty() ? family(row.scheme) : row.scheme + detail_of(row);
  };
  std::vector<std::string> families;
  for (const Row& row : rows) {
    if (std::find(families.begin(), families.end(), hue(row)) == families.end()) families.push_back(hue(row));
  }
  Figure figure;
  figure.columns = 2;
  figure.panel_height_cm = 6.0;
  const std::array<const char*, kMeasures> titles = {
      is_thumbnail_last(rows.front()) ? "Cell's glyph known to its thumbnail token, seen grids"
                                      : "Cell's colour known to its high-resolution tokens, seen grids",
      "unseen grids", "Asked for the glyph of a colour, seen grids", "unseen grids"};
  for (size_t m = 0; m < kMeasures; ++m) {
    Panel panel;
    panel.title = titles[m];
    panel.x.label = "step";
    panel.y.label = "share right";
    panel.y.low = 0.0;
    panel.y.high = 1.0;
    for (const Row& row : rows) {
      if (row.theta != theta || !row.scaling.empty() || row.correspondence != rows.front().correspondence)
        continue;
      const auto place =
          static_cast<size_t>(std::find(families.begin(), families.end(), hue(row)) - families.begin());
      Curve curve = mean_curve(row, m);
      Series series;
      series.label = row.scheme + detail_of(row);
      series.x = std::move(curve.steps);
      series.y = std::move(curve.mean);
      series.colour = curve_colour(place, families.size());
      series.dashed = family(row.scheme) == row.scheme && row.scheme.find("newline=") == std::string::npos;
      panel.series.push_back(std::move(series));
    }
    figure.panels.push_back(std::move(panel));
  }
  draw_figure(figure, file, /*force=*/true);
}

}  // namespace ropescope::miniature
