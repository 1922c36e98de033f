#include "positions/position_tables.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace ropescope::app::positions {

namespace {

/// Names of layouts are shown where there are several.
bool several_layouts(const std::vector<PositionRun>& runs) {
  return std::any_of(runs.begin(), runs.end(),
                     [&](const PositionRun& run) { return run.layout != runs.front().layout; });
}

std::vector<std::string> names_of(const PositionRun& run, bool with_layout) {
  if (with_layout) return {run.layout->name, run.scheme->text()};
  return {run.scheme->text()};
}

TextTable named_table(bool with_layout, std::vector<std::string> columns) {
  std::vector<std::string> header = {"scheme"};
  if (with_layout) header.insert(header.begin(), "layout");
  header.insert(header.end(), columns.begin(), columns.end());
  return TextTable(header);
}

std::string verdict(bool holds, bool applies = true) { return holds ? "yes" : (applies ? "no" : "n/a"); }

std::string published_text(const Scheme& scheme) {
  const auto published = published_verdict(scheme);
  if (!published) return "-";
  const auto word = [](const std::optional<bool>& value) {
    return value ? verdict(*value) : std::string("n/a");
  };
  return fmt::format("{} / {} / {}{}", word(published->coherent), word(published->full_frequency),
                     word(published->text_prior),
                     published->note.empty() ? "" : " (" + published->note + ")");
}

std::string reasons(const Criteria& criteria) {
  std::string text;
  for (const std::string& part :
       {coherence_faults(criteria), criteria.axes == 1 ? std::string() : frequency_faults(criteria),
        text_prior_faults(criteria)}) {
    if (!part.empty()) text += (text.empty() ? "" : "; ") + part;
  }
  return text.empty() ? "-" : text;
}

std::string csv_cell_of(const Json& value) {
  if (value.is_null()) return "";
  return value.is_string() ? value.get<std::string>() : value.dump();
}

/// "12 (40)" for each axis: median and largest distance.
std::string distances_text(const std::vector<DistanceSummary>& axes) {
  std::string text;
  for (const DistanceSummary& axis : axes) {
    if (axis.count == 0) return "-";
    text += fmt::format("{}{} ({})", text.empty() ? "" : " ", id_text(axis.quantiles[2]),
                        id_text(axis.quantiles[4]));
  }
  return text;
}

/// Thumbnail to high-res, high-res to text, thumbnail to text.
std::vector<std::string> distance_cells(const PositionRun& run) {
  const AnyresDistances& distances = run.distances;
  return {distances_text(distances.thumbnail_high), distances_text(distances.high_text),
          distances_text(distances.thumbnail_text)};
}

/// Whether a run has distances that the misalignment's table does not show already.
bool shows_distances(const std::vector<PositionRun>& runs) {
  return std::any_of(runs.begin(), runs.end(), [](const PositionRun& run) {
    return !run.misalignment && !run.distances.thumbnail_high.empty() &&
           run.distances.thumbnail_high.front().count > 0;
  });
}

}  // namespace

std::string id_text(double id) { return fmt::format("{:.7g}", id); }

TextTable criteria_table(const std::vector<PositionRun>& runs) {
  const bool with_layout = several_layouts(runs);
  const bool with_distances = shows_distances(runs);
  std::vector<std::string> columns = {"coherent", "full frequency", "text prior", "ids a visual token",
                                      "PTD"};
  if (with_distances) {
    columns.insert(columns.end(), {"thumbnail to high-res", "high-res to text", "thumbnail to text"});
  }
  columns.insert(columns.end(), {"paper's prose", "why not"});
  TextTable table = named_table(with_layout, columns);
  for (const PositionRun& run : runs) {
    const Criteria& criteria = *run.criteria;
    std::vector<std::string> row = names_of(run, with_layout);
    for (const std::string& cell :
         {verdict(criteria.coherent()), verdict(criteria.full_frequency(), criteria.axes > 1),
          verdict(criteria.text_prior()), fmt::format("{:.4g}", criteria.growth_per_visual_token),
          criteria.ptd.all ? fmt::format("{:.4g}", *criteria.ptd.all) : std::string("-")}) {
      row.push_back(cell);
    }
    for (std::string& cell : with_distances ? distance_cells(run) : std::vector<std::string>()) {
      row.push_back(std::move(cell));
    }
    row.push_back(published_text(*run.scheme));
    row.push_back(reasons(criteria));
    table.add(std::move(row));
  }
  return table;
}

TextTable criteria_columns(const std::vector<PositionRun>& runs) {
  std::vector<std::string> axes = {"t", "h", "w"};
  for (const PositionRun& run : runs) {
    for (const std::string& name : run.criteria->row_names) {
      if (std::find(axes.begin(), axes.end(), name) == axes.end()) axes.push_back(name);
    }
  }
  std::vector<std::string> fields;
  const Json first = to_json(Criteria{});
  for (const auto& [field, value] : first.items()) {
    if (!value.is_object()) fields.push_back(field);
  }
  std::vector<std::string> columns = fields;
  for (const std::string& axis : axes) columns.push_back("frequency_bin_coverage_" + axis);
  TextTable table = named_table(true, columns);
  for (const PositionRun& run : runs) {
    const Json object = to_json(*run.criteria);
    std::vector<std::string> row = names_of(run, true);
    for (const std::string& field : fields) row.push_back(csv_cell_of(object[field]));
    const Json& coverage = object["frequency_bin_coverage"];
    for (const std::string& axis : axes) row.push_back(csv_cell_of(coverage.value(axis, Json(nullptr))));
    table.add(std::move(row));
  }
  return table;
}

TextTable misalignment_table(const std::vector<PositionRun>& runs) {
  const bool with_layout = several_layouts(runs);
  TextTable table = named_table(
      with_layout, {"high-res tokens", "wrong row", "wrong column", "off by more columns", "outside its cell",
                    "thumbnail to high-res", "high-res to text", "thumbnail to text"});
  for (const PositionRun& run : runs) {
    const Json resize = to_json(run.misalignment->resize, *run.layout);
    std::vector<std::string> row = names_of(run, with_layout);
    for (const char* field : {"tokens", "row_differs", "column_differs", "column_differs_by_more_than_1",
                              "not_overlapping_the_assigned_cell"}) {
      row.push_back(resize[field].is_null() ? "-" : resize[field].dump());
    }
    for (std::string& cell : distance_cells(run)) row.push_back(std::move(cell));
    table.add(std::move(row));
  }
  return table;
}

TextTable token_table(const std::vector<PositionRun>& runs) {
  static const std::array<const char*, 5> kModalities = {"text", "image", "high-res", "newline", "video"};
  const bool anchored =
      std::any_of(runs.begin(), runs.end(), [](const PositionRun& run) { return run.scheme->anchored(); });
  // One coordinate stands in the column of t.
  std::vector<std::string> columns = {"token", "modality", "t", "h", "w"};
  std::vector<std::string> rows = {"t", "h", "w"};
  const auto rows_of = [](const PositionRun& run) {
    return run.scheme->axes() == 1 ? std::vector<std::string>{"t"} : run.scheme->row_names();
  };
  for (const PositionRun& run : runs) {
    for (const std::string& name : rows_of(run)) {
      if (std::find(rows.begin(), rows.end(), name) != rows.end()) continue;
      rows.push_back(name);
      columns.push_back(name);
    }
  }
  if (anchored) columns.emplace_back("anchor");
  TextTable table = named_table(true, columns);
  for (const PositionRun& run : runs) {
    const int64_t tokens = run.positions.tokens();
    const std::vector<std::string> own = rows_of(run);
    const double* ids = run.positions.coordinates.const_data_ptr<double>();
    const uint8_t* kinds = run.positions.modality.const_data_ptr<uint8_t>();
    for (int64_t token = 0; token < tokens; ++token) {
      std::vector<std::string> row = names_of(run, true);
      row.push_back(std::to_string(token));
      row.emplace_back(kModalities[kinds[token]]);
      for (const std::string& name : rows) {
        const auto axis = std::find(own.begin(), own.end(), name) - own.begin();
        const bool has = axis < static_cast<std::ptrdiff_t>(own.size());
        row.push_back(has ? fmt::format("{:.15g}", ids[axis * tokens + token]) : "");
      }
      if (anchored) {
        row.push_back(run.scheme->anchored()
                          ? fmt::format("{:.15g}", run.positions.anchors.const_data_ptr<double>()[token])
                          : "");
      }
      table.add(std::move(row));
    }
  }
  return table;
}

}  // namespace ropescope::app::positions
