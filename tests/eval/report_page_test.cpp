// The items of a report's page: pictures, what is left out, and that data never becomes markup.
#include "ropescope/eval/report_page.h"

#include <filesystem>
#include <fstream>
#include <regex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/eval/base64.h"
#include "ropescope/vision/image.h"

#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"

namespace ropescope::eval {
namespace {

using ::testing::HasSubstr;
using testing::TemporaryFolder;

constexpr const char* kNasty = "</script><script>alert(1)</script> \" ' & <!-- \xe2\x80\xa8 <img src=x>";

/// A data file of POPE questions on pictures and a run on it.
struct Case {
  explicit Case(const std::vector<std::string>& images, const std::string& output = "yes") {
    std::ofstream data(folder.path("data.jsonl"));
    std::filesystem::create_directories(folder.path("run"));
    std::ofstream samples(folder.path("run/samples.jsonl"));
    int64_t record = 0;
    for (const std::string& image : images) {
      ++record;
      const std::string original = testing::synthetic_folder() + "/" + image;
      if (std::filesystem::exists(original) && !std::filesystem::exists(folder.path(image))) {
        std::filesystem::copy_file(original, folder.path(image));
      }
      const Json doc = {{"question", kNasty}, {"answer", "yes"}, {"category", "random"}, {"image", image}};
      data << doc.dump() << "\n";
      samples << Json{{"record", record}, {"doc", doc},           {"prompt", kNasty}, {"output", output},
                      {"tokens", 1},      {"extracted", nullptr}, {"score", 1}}
                     .dump()
              << "\n";
    }
    data.close();
    const Json summary = {{"benchmark", "pope"},
                          {"model", "tiny"},
                          {"scheme", "vanilla"},
                          {"data", "data.jsonl"},
                          {"data_sha256", sha256_of_file(folder.path("data.jsonl"))},
                          {"items", record},
                          {"aggregates", {{"all", {{"accuracy", 1.0}}}}}};
    std::ofstream(folder.path("run/summary.json")) << summary.dump();
  }
  Report report(int64_t most = 1000) const {
    const Json paper = read_json_file(testing::source_path("data/paper_tables.json"));
    return make_report({read_run(folder.path("run"), most)}, paper, {}, 0);
  }
  PageOptions options() const {
    PageOptions options;
    options.data = {folder.path("data.jsonl")};
    return options;
  }
  TemporaryFolder folder;
};

/// The pixels of a data: URI.
at::Tensor pixels_of(const std::string& uri) {
  const size_t comma = uri.find(',');
  EXPECT_THAT(uri.substr(0, comma), ::testing::MatchesRegex("data:image/(jpeg|png);base64"));
  const auto bytes = decode_base64(uri.substr(comma + 1));
  return decode_image(std::as_bytes(std::span(*bytes)), "page").rgb_HW3;
}

TEST(ReportPage, PicturesAreScaledAndSharedAndMissingOnesTold) {
  const Case data({"gray_37x53.png", "exif_48x33.jpg", "missing.png", "gray_37x53.png"});
  PageOptions options = data.options();
  options.picture_pixels = 400;
  const ReportPage page = make_page(data.report(), options);
  ASSERT_EQ(page.sets.size(), 1u);
  const auto& items = page.sets[0].items;
  ASSERT_EQ(items.size(), 4u);
  ASSERT_EQ(page.pictures.size(), 2u);  // the fourth item shows the first one's again
  EXPECT_EQ(items.at(1).pictures, items.at(4).pictures);
  EXPECT_TRUE(items.at(3).pictures.empty());
  EXPECT_THAT(items.at(3).note, HasSubstr("missing.png"));
  const PagePicture& picture = page.pictures[items.at(2).pictures.at(0)];
  EXPECT_EQ(picture.width, 48);
  EXPECT_EQ(picture.height, 33);
  const at::Tensor pixels = pixels_of(picture.uri);
  EXPECT_LE(pixels.size(0) * pixels.size(1), 400);
  EXPECT_GE(pixels.size(0) * pixels.size(1), 340);
  EXPECT_NEAR(static_cast<double>(pixels.size(1)) / static_cast<double>(pixels.size(0)), 48.0 / 33, 0.1);
}

TEST(ReportPage, SetsOfOneBenchmarkHaveNamesOfTheirOwn) {
  const Case data({"gray_37x53.png"});
  std::filesystem::copy(data.folder.path("run"), data.folder.path("other"));
  Json summary = read_json_file(data.folder.path("run/summary.json"));
  summary["profile"] = "vlmevalkit";  // asked in other words
  std::ofstream(data.folder.path("other/summary.json")) << summary.dump();
  const Json paper = read_json_file(testing::source_path("data/paper_tables.json"));
  const Report report = make_report(
      {read_run(data.folder.path("run"), 10), read_run(data.folder.path("other"), 10)}, paper, {}, 0);
  const ReportPage page = make_page(report, {});
  ASSERT_EQ(page.sets.size(), 2u);
  EXPECT_EQ(page.sets[0].name, "pope");
  EXPECT_EQ(page.sets[1].name, "pope-2");
}

TEST(ReportPage, SaysWhatWasLeftOut) {
  const Case data({"gray_37x53.png", "exif_48x33.jpg", "la_33x21.png"});
  PageOptions options = data.options();
  options.picture_bytes = 1;  // the first picture fills it
  const ReportPage page = make_page(data.report(), options);
  EXPECT_EQ(page.pictures.size(), 1u);
  EXPECT_THAT(page.sets[0].notes, ::testing::Contains(HasSubstr("last 2 of 3 items are left out")));
  EXPECT_THAT(page.sets[0].items.at(3).note, HasSubstr("left out"));
  const ReportPage two = make_page(data.report(2), data.options());
  EXPECT_THAT(two.sets[0].notes, ::testing::Contains(HasSubstr("the page holds 2 of 3 items")));
  EXPECT_EQ(two.pictures.size(), 2u);
  const ReportPage none = make_page(data.report(), {});
  EXPECT_THAT(none.sets[0].notes, ::testing::Contains(HasSubstr("No pictures")));
  PageOptions wrong;
  wrong.data = {data.folder.path("run/samples.jsonl")};
  EXPECT_THROW(make_page(data.report(), wrong), UsageError);
  wrong.data = {data.folder.path("nothing.jsonl")};
  EXPECT_THROW(make_page(data.report(), wrong), InputError);
}

TEST(ReportPage, DataIsNeverMarkupAndNothingElseIsLoaded) {
  const Case data({"gray_37x53.png"}, kNasty);
  const Report report = data.report();
  const std::string page = report_html(report, make_page(report, data.options()));
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("\xe2\x80\xa8"), std::string::npos);  // U+2028 ends a line of a script
  EXPECT_EQ(page.find("http:"), std::string::npos);
  EXPECT_EQ(page.find("https:"), std::string::npos);
  EXPECT_THAT(page, HasSubstr("default-src 'none'; img-src data:"));
  const std::regex scripts("<script[^>]*>");
  EXPECT_EQ(std::distance(std::sregex_iterator(page.begin(), page.end(), scripts), {}), 3);
  const std::string begin = "id=\"report\">";
  const size_t from = page.find(begin) + begin.size();
  const Json json = parse_json(page.substr(from, page.find("</script>", from) - from), "page");
  const Json& item = json.at("sets").at(0).at("items").at(0);
  EXPECT_EQ(item.at("prompt"), kNasty);
  EXPECT_EQ(item.at("answers").at(0).at("output"), kNasty);
}

TEST(ReportPage, ExpectedAnswersAreReadable) {
  const Case data({"gray_37x53.png"});
  Report report = data.report();
  const auto gold = [&](const Json& doc) {
    report.runs[0].samples[0]["doc"] = doc;
    const std::string page = report_html(report, make_page(report, {})), begin = "\"gold\":\"";
    const size_t from = page.find(begin) + begin.size();
    return parse_json("\"" + page.substr(from, page.find('"', from) - from) + "\"", "page")
        .get<std::string>();
  };
  EXPECT_EQ(
      gold({{"answers", {{{"answer", "two"}, {"answer_id", 1}}, {{"answer", "2"}}, {{"answer", "two"}}}}}),
      "two ×2, 2");
  EXPECT_EQ(gold({{"answers", {"red", "blue"}}}), "red, blue");
  EXPECT_EQ(gold({{"answer", "1"}, {"options", {"dog", "cat"}}}), "1 (cat)");
  EXPECT_EQ(gold({{"answer", 7}, {"choices", {"dog", "cat"}}}), "7");
  EXPECT_EQ(gold({{"bbox", {1, 2, 3, 4}}}), "[1,2,3,4]");
}

TEST(ReportPage, CellsLieOverTheirPartOfThePicture) {
  const at::Tensor grey = at::full({150, 300, 3}, 100, at::kByte);
  const at::Tensor drawn = cells_over(grey, 1, 3, {0.0, NAN, 0.02}, 0.01);
  ASSERT_EQ(drawn.sizes(), grey.sizes());  // large enough as it is
  const auto colour = [&](int64_t x) {
    std::vector<int64_t> rgb;
    for (int64_t channel = 0; channel < 3; ++channel) rgb.push_back(drawn[75][x][channel].item<int64_t>());
    return rgb;
  };
  // 0.6 of viridis' ends (68, 1, 84) and (253, 231, 37) with 0.4 of the grey.
  EXPECT_EQ(colour(50), (std::vector<int64_t>{81, 41, 90}));
  EXPECT_EQ(colour(99), colour(0));
  EXPECT_EQ(colour(150), (std::vector<int64_t>{100, 100, 100}));
  EXPECT_EQ(colour(250), (std::vector<int64_t>{192, 179, 62}));
  EXPECT_EQ(cells_over(at::zeros({30, 50, 3}, at::kByte), 1, 1, {1.0}, 1.0).size(1), 250);
  EXPECT_THROW(cells_over(grey, 2, 2, {0.0}, 1.0), InternalError);
}

TEST(Base64, GoesThereAndBack) {
  for (const std::string& bytes : {std::string("f"), std::string("fo"), std::string("foo"),
                                   std::string("\0\xff\n", 3), std::string(size_t{5} << 20, 'x')}) {
    EXPECT_EQ(decode_base64(encode_base64(bytes)), bytes);
  }
  EXPECT_EQ(encode_base64("fo"), "Zm8=");  // RFC 4648
  EXPECT_EQ(encode_base64(""), "");
}

}  // namespace
}  // namespace ropescope::eval
