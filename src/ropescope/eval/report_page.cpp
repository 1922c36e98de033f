// What of the runs' items goes into the page: which, with which pictures.
#include "ropescope/eval/report_page.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/eval/base64.h"
#include "ropescope/io/figure.h"
#include "ropescope/vision/encode.h"
#include "ropescope/vision/image.h"
#include "ropescope/vision/resize.h"

namespace ropescope::eval {

namespace fs = std::filesystem;

namespace {

constexpr int kJpegQuality = 80;
/// Of one item; MM-NIAH has documents with dozens.
constexpr size_t kMostPictures = 12;
/// The longer side of a picture under a map is at least so long, pixels.
constexpr int64_t kLeastMapSide = 224;

std::string data_hash(const ResultRun& run) {
  return json_string_or(run.summary, "data_sha256", "", run.name);
}

/// Runs by benchmark and data, in the order of the runs.
std::vector<PageSet> make_sets(const std::vector<ResultRun>& runs) {
  std::vector<PageSet> sets;
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto same = [&](const PageSet& set) {
      const ResultRun& first = runs[set.runs.front()];
      return first.benchmark == runs[i].benchmark && data_hash(first) == data_hash(runs[i]);
    };
    const auto found = std::find_if(sets.begin(), sets.end(), same);
    if (found != sets.end()) {
      found->runs.push_back(i);
      continue;
    }
    // (under another profile a benchmark is another object of the same name)
    const std::string& name = runs[i].benchmark->name;
    const auto others = std::count_if(sets.begin(), sets.end(),
                                      [&](const PageSet& set) { return set.benchmark->name == name; });
    PageSet set;
    set.name = name + (others > 0 ? fmt::format("-{}", others + 1) : "");
    set.benchmark = runs[i].benchmark;
    set.runs = {i};
    sets.push_back(std::move(set));
  }
  return sets;
}

std::string data_name(const ResultRun& run) {
  return json_string_or(run.summary, "data", "its data", run.name);
}

void find_data(std::vector<PageSet>& sets, const std::vector<ResultRun>& runs,
               const std::vector<fs::path>& files) {
  for (const fs::path& file : files) {
    if (!fs::is_regular_file(file)) throw InputError("--data: {}: no such file", file.string());
    const std::string hash = sha256_of_file(file);
    bool used = false;
    std::string expected;
    for (PageSet& set : sets) {
      const ResultRun& run = runs[set.runs.front()];
      expected += fmt::format("{}{} ({}…)", expected.empty() ? "" : ", ", data_name(run),
                              data_hash(run).substr(0, 12));
      if (data_hash(run) != hash) continue;
      set.records = open_records(file, *set.benchmark);
      used = true;
    }
    if (!used) {
      throw UsageError("--data: {}: expected the data of a run, by SHA-256: {}; found {}…", file.string(),
                       expected, hash.substr(0, 12));
    }
  }
}

/// Puts the pictures of a set's items into the page until the bytes are used up.
class PictureReader {
 public:
  PictureReader(const PageOptions& options, ReportPage& page) : options_(options), page_(page) {}

  void read(PageSet& set) {
    Records& records = *set.records;
    const std::map<int64_t, int64_t> places = places_by_number(records);
    known_.clear();
    int64_t without = 0;
    for (auto& [record, item] : set.items) {
      const auto place = places.find(record);
      if (place == places.end()) {
        item.note = "the data file has no such record";
        continue;
      }
      if (full_) {
        ++without;
        item.note = "left out: the page's room for pictures is used up";
        continue;
      }
      try {
        add_pictures(item, records, place->second);
      } catch (const InputError& error) {
        item.note = error.what();
      }
    }
    if (without > 0) {
      set.notes.push_back(fmt::format(
          "Pictures of the last {} of {} items are left out: all pictures of the page together take at most "
          "{} MB (--picture-megabytes).",
          without, set.items.size(), options_.picture_bytes >> 20));
    }
  }

 private:
  void add_pictures(PageItem& item, Records& records, int64_t place) {
    const std::vector<std::string> keys = records.pictures(place);
    for (size_t i = 0; i < std::min(keys.size(), kMostPictures); ++i) {
      auto known = known_.find(keys[i]);
      if (known == known_.end()) {
        const at::Tensor pixels = page_pixels(records.picture(keys[i]), "picture " + keys[i]);
        PagePicture picture{picture_uri(scaled_down(pixels, options_.picture_pixels)), pixels.size(1),
                            pixels.size(0)};
        used_ += static_cast<int64_t>(picture.uri.size());
        full_ = used_ >= options_.picture_bytes;
        known = known_.emplace(keys[i], page_.pictures.size()).first;
        page_.pictures.push_back(std::move(picture));
      }
      item.pictures.push_back(known->second);
    }
    if (!records.clips(place).empty()) item.note = "about a clip, which this page does not show";
    if (keys.size() > kMostPictures) {
      item.note = fmt::format("the first {} of {} pictures", kMostPictures, keys.size());
    }
  }

  const PageOptions& options_;
  ReportPage& page_;
  std::map<std::string, size_t> known_;  // of the set's file
  int64_t used_ = 0;
  bool full_ = false;
};

}  // namespace

std::map<int64_t, int64_t> places_by_number(const Records& records) {
  std::map<int64_t, int64_t> places;
  for (int64_t i = 0; i < records.size(); ++i) places.emplace(records.number(i), i);
  return places;
}

ReportPage make_page(const Report& report, const PageOptions& options) {
  ReportPage page;
  page.sets = make_sets(report.runs);
  find_data(page.sets, report.runs, options.data);
  PictureReader reader(options, page);
  for (PageSet& set : page.sets) {
    for (const size_t i : set.runs) {
      const ResultRun& run = report.runs[i];
      for (const Json& sample : run.samples) {
        set.items[json_integer(sample, "record", run.name)];
      }
      const auto asked = run.summary.value("items", int64_t{0});
      if (static_cast<int64_t>(run.samples.size()) < asked) {
        set.notes.push_back(fmt::format("Of {} the page holds {} of {} items (--most-items).", run.name,
                                        run.samples.size(), asked));
      }
    }
    if (set.records) {
      reader.read(set);
    } else {
      set.notes.push_back(fmt::format("No pictures: --data gave no file that is {}.",
                                      data_name(report.runs[set.runs.front()])));
    }
  }
  return page;
}

at::Tensor page_pixels(const std::string& bytes, const std::string& what) {
  DecodeOptions decode;
  decode.alpha = AlphaRule::kDrop;  // as the harness converts pictures
  return decode_image(std::as_bytes(std::span(bytes)), what, decode).rgb_HW3;
}

at::Tensor scaled_down(const at::Tensor& rgb_HW3, int64_t most_pixels) {
  const int64_t height = rgb_HW3.size(0), width = rgb_HW3.size(1);
  if (height * width <= most_pixels) return rgb_HW3;
  const double scale = std::sqrt(static_cast<double>(most_pixels) /
                                 (static_cast<double>(height) * static_cast<double>(width)));
  const auto side = [&](int64_t pixels) {
    const auto scaled = static_cast<int64_t>(static_cast<double>(pixels) * scale);
    return std::clamp<int64_t>(scaled, 1, most_pixels);
  };
  return resize_image(rgb_HW3, side(width), side(height), ResampleFilter::kBilinear);
}

std::string picture_uri(const at::Tensor& rgb_HW3) {
  std::string type;
  const std::string bytes = encode_shorter(rgb_HW3, kJpegQuality, type);
  return "data:" + type + ";base64," + encode_base64(bytes);
}

at::Tensor cells_over(const at::Tensor& rgb_HW3, int64_t rows, int64_t columns,
                      const std::vector<double>& values, double top) {
  if (rows < 1 || columns < 1 || values.size() != static_cast<size_t>(rows * columns)) {
    throw InternalError("cells_over: expected {} x {} values, found {}", rows, columns, values.size());
  }
  const int64_t longest = std::max(rgb_HW3.size(0), rgb_HW3.size(1));
  const int64_t factor = (kLeastMapSide + longest - 1) / longest;
  at::Tensor pixels = rgb_HW3.repeat_interleave(factor, 0).repeat_interleave(factor, 1).contiguous();
  constexpr size_t kColours = 256;
  static const std::vector<std::array<double, 3>> palette = [] {
    std::vector<std::array<double, 3>> colours;
    for (size_t i = 0; i < kColours; ++i) {
      const auto rgb =
          std::stoul(ordered_colour(static_cast<double>(i) / (kColours - 1)).substr(1), nullptr, 16);
      colours.push_back({static_cast<double>(rgb >> 16), static_cast<double>((rgb >> 8) & 255),
                         static_cast<double>(rgb & 255)});
    }
    return colours;
  }();
  const int64_t height = pixels.size(0), width = pixels.size(1);
  auto* pixel = pixels.mutable_data_ptr<uint8_t>();
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x, pixel += 3) {
      const double value = values[static_cast<size_t>(y * rows / height * columns + x * columns / width)];
      if (!std::isfinite(value)) continue;
      const double place = top > 0 ? std::clamp(value / top, 0.0, 1.0) : 0.0;
      const auto& colour = palette[static_cast<size_t>(std::lround(place * (kColours - 1)))];
      const double grey = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
      for (size_t channel = 0; channel < 3; ++channel) {
        pixel[channel] = static_cast<uint8_t>(std::lround(0.6 * colour[channel] + 0.4 * grey));
      }
    }
  }
  return pixels;
}

}  // namespace ropescope::eval
