#include "ropescope/audit/clip_times.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ropescope/core/numbers.h"

namespace ropescope {

namespace {

bool counts_seconds(const AuditCase& of) {
  return of.prompt.axes == 3 && of.prompt.ids_per_second > 0 && of.prompt.has_clip();
}

/// Steps that are another function of each clip's seconds.
IdGuess with_steps(const AuditCase& of, double (*step)(double per_second, double seconds),
                   std::string detail = {}) {
  std::vector<double> steps = rule_steps(of.prompt);
  for (size_t i = 0; i < steps.size(); ++i) {
    if (of.prompt.items[i].groups > 1) steps[i] = step(of.prompt.ids_per_second, of.prompt.items[i].seconds);
  }
  return {[steps](IdRule& rule) { rule.steps = steps; }, std::move(detail)};
}

std::string step_detail(const AuditCase& of, const std::vector<double>& steps) {
  const std::vector<double> own = rule_steps(of.prompt);
  std::vector<std::string> clips;
  for (size_t i = 0; i < steps.size(); ++i) {
    if (of.prompt.items[i].groups < 2) continue;
    std::string text =
        fmt::format("about {:.3g} ids from one group of frames to the next, not {:.4g}", steps[i], own[i]);
    if (of.prompt.ids_per_second > 0) {
      text += fmt::format(" (about {:.3g} seconds, not {:.4g})", steps[i] / of.prompt.ids_per_second,
                          of.prompt.items[i].seconds);
    }
    clips.push_back(std::move(text));
  }
  return fmt::format("{}", fmt::join(clips, "; "));
}

Guesses fitted_steps(const AuditCase& of, bool wants_shared) {
  if (of.prompt.axes != 3 || !of.prompt.has_clip()) return {};
  bool shared = false;
  const auto steps = recorded_steps(of, shared);
  if (!steps || shared != wants_shared) return {};
  return {{[steps](IdRule& rule) { rule.steps = steps; }, step_detail(of, *steps)}};
}

}  // namespace

const std::vector<double>& usual_rates() {
  static const std::vector<double> rates = {
      24, 25, 30, 50, 60, 24000.0 / 1001, 30000.0 / 1001, 60000.0 / 1001};
  return rates;
}

std::optional<std::vector<double>> recorded_steps(const AuditCase& of, bool& shared) {
  std::vector<double> steps = rule_steps(of.prompt);
  const auto ids = of.recorded.accessor<double, 3>();
  shared = false;
  const auto all = stretches(of.prompt);
  for (const Stretch& stretch : *all) {
    size_t block = 0, at = 0;
    for (const Segment& segment : stretch.layout.segments) {
      const auto tokens = static_cast<size_t>(segment.tokens());
      if (segment.kind != Segment::Kind::kText) {
        const auto item = static_cast<size_t>(stretch.items[block++]);
        const int64_t begin = stretch.places[at] - of.window.first;
        const bool inside = begin >= 0 && begin + segment.tokens() <= of.window.count;
        double least = 0, most = kInfinity, before = 0;
        for (int64_t tau = 1; inside && tau < segment.grid.t; ++tau) {
          const int64_t column = begin + tau * segment.grid.h * segment.grid.w;
          const double time = ids[0][stretch.row][column] - ids[0][stretch.row][begin];
          least = std::max(least, time / static_cast<double>(tau));
          most = std::min(most, (time + 1) / static_cast<double>(tau));
          shared = shared || time == before;
          before = time;
        }
        if (segment.grid.t > 1) {
          if (!inside || !(least < most)) return std::nullopt;
          steps[item] = (least + most) / 2;
        }
      }
      at += tokens;
    }
  }
  return steps;
}

Guesses source_fps_taken(const AuditCase& of) {
  if (!counts_seconds(of)) return {};
  Guesses guesses;
  const std::vector<double> rates = of.source_fps ? std::vector<double>{*of.source_fps} : usual_rates();
  for (const double rate : rates) {
    const auto step =
        static_cast<double>(static_cast<float>(of.prompt.ids_per_second) *
                            static_cast<float>(static_cast<double>(of.prompt.frames_in_group) / rate));
    std::vector<double> steps = rule_steps(of.prompt);
    for (size_t i = 0; i < steps.size(); ++i) {
      if (of.prompt.items[i].groups > 1) steps[i] = step;
    }
    guesses.push_back(
        {[steps](IdRule& rule) { rule.steps = steps; }, fmt::format("{:g} frames a second", rate)});
  }
  return guesses;
}

Guesses seconds_missing(const AuditCase& of) {
  if (!counts_seconds(of)) return {};
  return {with_steps(of, [](double per_second, double) { return per_second; })};
}

Guesses seconds_cut(const AuditCase& of) {
  if (!counts_seconds(of)) return {};
  return {with_steps(of, [](double per_second, double seconds) { return per_second * std::trunc(seconds); })};
}

Guesses frames_counted(const AuditCase& of) {
  if (!counts_seconds(of)) return {};
  return {with_steps(of, [](double, double) { return 1.0; })};
}

Guesses time_collides(const AuditCase& of) { return fitted_steps(of, true); }

Guesses time_step(const AuditCase& of) { return fitted_steps(of, false); }

}  // namespace ropescope
