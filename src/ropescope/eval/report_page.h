// The page of a report: what of each item can be looked up in it, and the page itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/eval/records.h"
#include "ropescope/eval/report.h"

namespace ropescope::eval {

struct PageOptions {
  std::vector<std::filesystem::path> data;    ///< data files of the runs, known by their SHA-256
  int64_t picture_pixels = 90'000;            ///< larger pictures are scaled down
  int64_t picture_bytes = int64_t{24} << 20;  ///< of all pictures together, as they stand in the page
};

/// A picture over which a map lies, or a picture itself.
struct PagePicture {
  std::string uri;                ///< data:
  int64_t width = 0, height = 0;  ///< of the file, pixels
};

struct PageItem {
  std::vector<size_t> pictures;  ///< places in ReportPage::pictures
  std::string note;              ///< why pictures are missing
};

struct PageMap {
  size_t picture = 0;
  std::string caption;
};

/// Runs on the same data.
struct PageSet {
  std::string name;
  const Benchmark* benchmark = nullptr;
  std::vector<size_t> runs;           ///< places in Report::runs
  std::shared_ptr<Records> records;   ///< of its data file, if that was given
  std::map<int64_t, PageItem> items;  ///< by record
  std::vector<std::string> notes;     ///< what was left out, and why
};

struct ReportPage {
  std::vector<PageSet> sets;
  std::vector<PagePicture> pictures;
  std::map<std::pair<size_t, int64_t>, std::vector<PageMap>> maps;  ///< by run and record
  std::map<std::string, std::string> figures;  ///< data: URI of a table's picture, by "001:2"
};

/// Throws UsageError for a data file that no run was made from, InputError for one that cannot be read.
ReportPage make_page(const Report& report, const PageOptions& options);

/// One page without other files; every kept sample can be looked up. What comes from data is never markup,
/// and the page's policy lets it run no other script and load nothing.
std::string report_html(const Report& report, const ReportPage& page);

/// Places of records in a file by their numbers.
std::map<int64_t, int64_t> places_by_number(const Records& records);

/// RGB of a picture file as it is asked about: alpha dropped, EXIF orientation not applied. Throws
/// InputError.
at::Tensor page_pixels(const std::string& bytes, const std::string& what);
/// At most `most_pixels`, proportions kept; itself where it has no more.
at::Tensor scaled_down(const at::Tensor& rgb_HW3, int64_t most_pixels);
/// The pixels as a data: URI, JPEG or PNG.
std::string picture_uri(const at::Tensor& rgb_HW3);

/// The cells of a grid over a picture: values[r * columns + c], row 0 on top, coloured by value / top
/// (viridis, 0 to 1) over the picture in grey; NaN leaves it as it is. Small pictures are enlarged. uint8
/// [H, W, 3].
at::Tensor cells_over(const at::Tensor& rgb_HW3, int64_t rows, int64_t columns,
                      const std::vector<double>& values, double top);

/// The parts of the page that are the same for all reports.
extern const char* const kPageStyle;
extern const char* const kPageScript;

}  // namespace ropescope::eval
