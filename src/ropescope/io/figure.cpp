#include "ropescope/io/figure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/io/figure_script.h"
#include "ropescope/io/gnuplot.h"

namespace ropescope {

namespace {

/// Okabe and Ito, Color Universal Design (2008), without its yellow, which is too light on white.
constexpr std::array<const char*, 7> kCurveColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                      "#e69f00", "#56b4e9", "#000000"};
/// Nine points of matplotlib's viridis; it is linear in lightness, so it survives grey printing too.
constexpr std::array<std::array<int, 3>, 9> kViridis = {{{68, 1, 84},
                                                         {71, 44, 122},
                                                         {59, 81, 139},
                                                         {44, 113, 142},
                                                         {33, 144, 141},
                                                         {39, 173, 129},
                                                         {92, 200, 99},
                                                         {170, 220, 50},
                                                         {253, 231, 37}}};

}  // namespace

std::string curve_colour(size_t index, size_t count) {
  if (count <= kCurveColours.size()) return kCurveColours[index % kCurveColours.size()];
  // The last tenth of the scale is too light for thin lines.
  return ordered_colour(0.9 * static_cast<double>(index) / static_cast<double>(count - 1));
}

std::string ordered_colour(double position) {
  const double at = std::clamp(position, 0.0, 1.0) * (kViridis.size() - 1);
  const auto low = std::min(static_cast<size_t>(at), kViridis.size() - 2);
  std::string colour = "#";
  for (size_t channel = 0; channel < 3; ++channel) {
    const double share = at - static_cast<double>(low);
    const double value = kViridis[low][channel] * (1 - share) + kViridis[low + 1][channel] * share;
    colour += fmt::format("{:02x}", std::lround(value));
  }
  return colour;
}

std::string number_label(double value) {
  static const std::array<const char*, 10> kSuperscripts = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  if (!(value >= 1e4 && value < 1e100)) return fmt::format("{:g}", value);
  int exponent = static_cast<int>(std::floor(std::log10(value) + 1e-12));
  std::string digits = fmt::format("{:.3g}", value / std::pow(10.0, exponent));
  if (digits == "10") {
    digits = "1";
    ++exponent;
  }
  std::string label = digits == "1" ? "10" : digits + "×10";
  for (const char digit : std::to_string(exponent)) label += kSuperscripts[static_cast<size_t>(digit - '0')];
  return label;
}

std::vector<std::pair<double, std::string>> log_ticks(double low, double high) {
  std::vector<std::pair<double, std::string>> ticks;
  for (int decade = static_cast<int>(std::floor(std::log10(low))); std::pow(10.0, decade) <= high; ++decade) {
    for (int digit = 1; digit < 10; ++digit) {
      const double value = digit * std::pow(10.0, decade);
      if (value < low || value > high) continue;
      ticks.emplace_back(value, digit == 1 ? number_label(value) : "");
    }
  }
  return ticks;
}

void check_figure_path(const std::filesystem::path& path, bool force) {
  const std::string extension = path.extension().string();
  if (extension != ".png" && extension != ".svg" && extension != ".pdf") {
    throw UsageError("{}: expected a figure name ending in .png, .svg or .pdf", path.string());
  }
  std::error_code ignored;
  if (!force && std::filesystem::exists(path, ignored)) {
    throw UsageError("{}: the file exists already; --force overwrites it", path.string());
  }
  require_writable(path);
}

void draw_figure(const Figure& figure, const std::filesystem::path& path, bool force) {
  check_figure_path(path, force);
  const std::string script = figure_script(figure, path.extension().string());
  AtomicFile output(path, force);
  run_gnuplot(script, output.temporary_path());
  output.commit();
}

}  // namespace ropescope
