#include "ropescope/eval/report_figure.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/numbers.h"

namespace ropescope::eval {

namespace {

/// Of the printed bars; measured ones have the colours of curves.
constexpr const char* kPaperGreys[] = {"#9a9a9a", "#5f5f5f", "#bdbdbd"};
constexpr double kGroupWidth = 0.84;  ///< of a column, in columns
constexpr double kBreak = kNan;       ///< of a curve
constexpr double kBarGap = 0.1;       ///< between bars, in bars

std::vector<std::string> distinct(const std::vector<const ReportRow*>& rows, std::string ReportRow::*member) {
  std::vector<std::string> values;
  for (const ReportRow* row : rows) {
    if (std::find(values.begin(), values.end(), row->*member) == values.end()) values.push_back(row->*member);
  }
  return values;
}

/// Bars of one kind, one a column; a curve that breaks between them.
class Bars {
 public:
  Bars(const std::string& label, const std::string& colour) {
    tops_.label = label;
    tops_.colour = colour;
    intervals_.colour = "#222222";
  }

  void add(double centre, double width, double value, const std::optional<Interval>& interval) {
    for (const double x : {centre - width / 2, centre + width / 2, kBreak}) {
      tops_.x.push_back(x);
      tops_.y.push_back(std::isnan(x) ? kBreak : value);
      tops_.low.push_back(0);
      tops_.high.push_back(value);
    }
    if (!interval || !interval->known()) return;
    for (const double y : {interval->low, interval->high, kBreak}) {
      intervals_.x.push_back(centre);
      intervals_.y.push_back(y);
    }
  }

  void into(Panel& panel) const {
    if (tops_.x.empty()) return;
    panel.series.push_back(tops_);
    if (!intervals_.x.empty()) panel.series.push_back(intervals_);
  }

 private:
  Series tops_, intervals_;
};

std::optional<Panel> model_panel(const std::vector<const ReportRow*>& rows, const std::string& title) {
  const bool measured =
      std::any_of(rows.begin(), rows.end(), [](const ReportRow* row) { return row->measured.has_value(); });
  if (!measured) return std::nullopt;
  const std::vector<std::string> columns = distinct(rows, &ReportRow::column),
                                 methods = distinct(rows, &ReportRow::method);
  Panel panel;
  panel.title = title;
  panel.y.label = "percent";
  panel.y.low = 0;
  panel.x.low = -0.5;
  panel.x.high = static_cast<double>(columns.size()) - 0.5;
  for (size_t i = 0; i < columns.size(); ++i) panel.x.ticks.emplace_back(static_cast<double>(i), columns[i]);
  const double step = kGroupWidth / static_cast<double>(2 * methods.size());
  for (size_t m = 0; m < methods.size(); ++m) {
    Bars paper("paper, " + methods[m], kPaperGreys[m % std::size(kPaperGreys)]),
        ours("measured, " + methods[m], curve_colour(m, methods.size()));
    for (const ReportRow* row : rows) {
      if (row->method != methods[m]) continue;
      const auto column =
          static_cast<double>(std::find(columns.begin(), columns.end(), row->column) - columns.begin());
      const double first = column - kGroupWidth / 2 + step * (2 * static_cast<double>(m) + 0.5);
      if (row->paper) paper.add(first, step * (1 - kBarGap), *row->paper, {});
      if (row->measured) ours.add(first + step, step * (1 - kBarGap), *row->measured, row->interval);
    }
    paper.into(panel);
    ours.into(panel);
  }
  return panel;
}

std::vector<Panel> table_panels(const Report& report, const std::string& table) {
  std::vector<const ReportRow*> rows;
  for (const ReportRow& row : report.rows) {
    if (row.table == table) rows.push_back(&row);
  }
  std::vector<Panel> panels;
  for (const std::string& model : distinct(rows, &ReportRow::model)) {
    std::vector<const ReportRow*> own;
    for (const ReportRow* row : rows) {
      if (row->model == model) own.push_back(row);
    }
    const std::string place = fmt::format("Paper {}, table {}", table.substr(0, table.find(':')),
                                          table.substr(table.find(':') + 1));
    if (auto panel = model_panel(own, model.empty() ? place : place + ": " + model)) {
      panels.push_back(std::move(*panel));
    }
  }
  return panels;
}

ropescope::Figure figure_with(std::vector<Panel> panels) {
  ropescope::Figure figure;
  size_t columns = 0;
  for (const Panel& panel : panels) columns = std::max(columns, panel.x.ticks.size());
  figure.width_cm = std::max(17.0, 2.0 * static_cast<double>(columns) + 2.2);  // names of columns are long
  figure.panel_height_cm = 6.5;
  figure.panels = std::move(panels);
  return figure;
}

}  // namespace

std::optional<ropescope::Figure> table_figure(const Report& report, const std::string& table) {
  std::vector<Panel> panels = table_panels(report, table);
  if (panels.empty()) return std::nullopt;
  return figure_with(std::move(panels));
}

ropescope::Figure report_figure(const Report& report) {
  std::vector<Panel> panels;
  for (const std::string& table : table_names(report)) {
    for (Panel& panel : table_panels(report, table)) panels.push_back(std::move(panel));
  }
  if (panels.empty()) throw InputError("--plot: the runs measure no figure of the report's tables");
  return figure_with(std::move(panels));
}

std::vector<std::string> table_names(const Report& report) {
  std::vector<std::string> names;
  for (const ReportRow& row : report.rows) {
    if (names.empty() || names.back() != row.table) names.push_back(row.table);
  }
  return names;
}

}  // namespace ropescope::eval
