#include "evaluate/evaluate_fading.h"

#include <cmath>

#include <fmt/format.h>

#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>

#include "ropescope/analysis/figures_prior.h"
#include "ropescope/core/errors.h"

#include "text_table.h"

namespace ropescope::app::evaluate {

void LongContextFlags::bind(Flags& flags) {
  flags.group("Long context");
  flags.add(
      "distractor", distractor,
      "texts to put between pictures and question: a folder, whose files are joined in the order of their names, or a file");
  flags.add(
      "text-lengths", text_lengths,
      "tokens of them, for example 0,1024,2048,4096: every question is asked at each; --scheme may then name several, separated by ; (or , where no scheme has commas)");
}

std::optional<LongContext> LongContextFlags::read(const std::optional<std::string>& scheme) const {
  if (distractor.has_value() != !text_lengths.empty()) {
    throw UsageError("expected --distractor and --text-lengths together");
  }
  if (!distractor) {
    if (scheme && split_scheme_list(*scheme).size() > 1) {
      throw UsageError(
          "--scheme: expected one in a plain run, found \"{}\"; several are compared with --distractor and --text-lengths",
          *scheme);
    }
    return std::nullopt;
  }
  LongContext context;
  context.schemes = scheme ? split_scheme_list(*scheme) : std::vector<std::string>{""};
  for (size_t i = 0; i < context.schemes.size(); ++i) {
    std::string& text = context.schemes[i];
    if (!text.empty()) text = Scheme(text).text();
    for (size_t j = 0; j < i; ++j) {
      if (scheme_group("", text) == scheme_group("", context.schemes[j])) {
        throw UsageError("--scheme: expected different schemes, found \"{}\" twice", text);
      }
    }
  }
  context.lengths = text_lengths;
  for (size_t i = 0; i < context.lengths.size(); ++i) {
    if (i == 0 ? context.lengths[i] != 0 : context.lengths[i] <= context.lengths[i - 1]) {
      throw UsageError(
          "--text-lengths: expected ascending numbers that begin with 0, from which drops count");
    }
  }
  context.corpus = eval::read_distractor_corpus(*distractor);
  return context;
}

void add_settings(const LongContext& context, Json& settings) {
  Json schemes = Json::array();
  for (const std::string& scheme : context.schemes) {
    schemes.push_back(scheme.empty() ? Json(nullptr) : Json(scheme));
  }
  settings["schemes"] = schemes;
  settings["text_lengths"] = context.lengths;
  settings["distractor"] = context.corpus.name;
  settings["distractor_sha256"] = context.corpus.sha256;
}

std::vector<Way> ways_of(const LongContext& context, const Tokenizer& tokenizer) {
  const eval::Distractors distractors(context.corpus.text, tokenizer);
  std::vector<Way> ways;
  for (const std::string& scheme : context.schemes) {
    for (const int64_t length : context.lengths) {
      Way way{{scheme, length}, {std::nullopt, distractors.text(length), /*visual_share=*/true}};
      if (!scheme.empty()) way.manner.scheme.emplace(scheme);
      ways.push_back(std::move(way));
    }
  }
  return ways;
}

void write_fading(ResultWriter& writer, const LongContext& context,
                  const std::vector<eval::FadingCurve>& curves,
                  const std::map<eval::Condition, eval::Scores>& scores) {
  const std::string root = "/long_context";
  writer.write(root + "/text_lengths", at::tensor(context.lengths, at::kLong));
  std::vector<std::string> labels;
  for (const eval::FadingCurve& curve : curves) labels.push_back(eval::scheme_label(curve.scheme));
  writer.write(root + "/scheme", labels);
  writer.attribute(root, "distractor", context.corpus.name);
  writer.attribute(root, "distractor_sha256", context.corpus.sha256);
  for (const eval::FadingCurve& curve : curves) {
    const std::string group = scheme_group(root, eval::scheme_label(curve.scheme));
    const auto column = [&](const std::string& name, const auto& value_of) {
      std::vector<double> values;
      for (const eval::FadingPoint& point : curve.points) values.push_back(value_of(point));
      writer.write(group + "/" + name, at::tensor(values, at::kDouble));
    };
    using Point = eval::FadingPoint;
    column("figure/percent", [](const Point& p) { return p.percent; });
    column("figure/ci95_low", [](const Point& p) { return p.interval.low; });
    column("figure/ci95_high", [](const Point& p) { return p.interval.high; });
    column("figure/drop", [](const Point& p) { return p.drop.difference; });
    column("figure/drop_low", [](const Point& p) { return p.drop.interval.low; });
    column("figure/drop_high", [](const Point& p) { return p.drop.interval.high; });
    column("figure/relative", [](const Point& p) { return p.relative; });
    column("figure/units", [](const Point& p) { return static_cast<double>(p.units); });
    column("fading/visual_share", [](const Point& p) { return p.visual_share; });
    column("fading/ci95_low", [](const Point& p) { return p.share_interval.low; });
    column("fading/ci95_high", [](const Point& p) { return p.share_interval.high; });
    column("fading/uniform_share", [](const Point& p) { return p.uniform_share; });
    std::vector<at::Tensor> score, share;
    for (const int64_t length : context.lengths) {
      const eval::Scores& here = scores.at({curve.scheme, length});
      score.push_back(at::tensor(here.scores, at::kDouble));
      share.push_back(at::tensor(here.visual_share, at::kDouble));
    }
    writer.write(group + "/items/score", at::stack(score));
    writer.write(group + "/items/visual_share", at::stack(share));
  }
  writer.write("/evaluation/record", at::tensor(scores.begin()->second.records, at::kLong));
}

namespace {

std::string cell(double value, const eval::Interval& interval, double unit, int digits) {
  if (!std::isfinite(value)) return "-";
  return fmt::format("{:.{}f} [{:.{}f}, {:.{}f}]", value * unit, digits, interval.low * unit, digits,
                     interval.high * unit, digits);
}

}  // namespace

void print_fading(const std::vector<eval::FadingCurve>& curves, bool csv) {
  TextTable table(
      {"scheme", "tokens", "items", "accuracy %", "drop, points", "ratio", "visual share %", "uniform %"});
  for (const eval::FadingCurve& curve : curves) {
    for (const eval::FadingPoint& point : curve.points) {
      const bool start = point.distractor_tokens == 0;
      const auto number = [](double value, double unit, int digits) {
        return std::isfinite(value) ? fmt::format("{:.{}f}", value * unit, digits) : std::string("-");
      };
      table.add({eval::scheme_label(curve.scheme), std::to_string(point.distractor_tokens),
                 std::to_string(point.items), cell(point.percent, point.interval, 1, 1),
                 start ? "-" : cell(point.drop.difference, point.drop.interval, 1, 1),
                 number(point.relative, 1, 3), cell(point.visual_share, point.share_interval, 100, 2),
                 number(point.uniform_share, 100, 2)});
    }
  }
  fmt::print("{}", table.text(csv ? TableStyle::kCsv : TableStyle::kAligned));
}

}  // namespace ropescope::app::evaluate
