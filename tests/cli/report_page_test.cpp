// `ropescope report --output page.html`: pictures, attention maps, and the page in a real browser.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/file.h"

#include "tests/support/golden.h"
#include "tests/support/python.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

/// Two runs of the tiny LLaVA on six questions about pictures; the text of one is as bad as text can be, the
/// picture of another is missing.
class Runs {
 public:
  Runs() {
    make_tiny_llava(folder);
    const std::vector<std::string> images = {"exif_48x33.jpg", "gray_37x53.png", "exif_48x33.jpg",
                                             "missing.png",    "cmyk_40x31.jpg", "palette_50x71.png"};
    std::ofstream items(data());
    for (size_t i = 0; i < images.size(); ++i) {
      const std::string copy = folder.path(images[i]), original = synthetic_folder() + "/" + images[i];
      if (std::filesystem::exists(original)) {
        std::filesystem::copy_file(original, copy, std::filesystem::copy_options::overwrite_existing);
      }
      const std::string question =
          i == 1 ? "</script><img src=x onerror=alert(1)> \"quoted\" 'single' \xe2\x80\xa8 &amp; <b>bold</b>?"
                 : "Is there thing number " + std::to_string(i) + "?";
      items
          << Json{{"question", question}, {"answer", i % 2 == 0 ? "yes" : "no"}, {"image", images[i]}}.dump()
          << "\n";
    }
    items.close();
    for (const std::string scheme : {"vanilla", "id-align"}) {
      const auto run = run_ropescope("evaluate --quiet --model '" + model() + "' --benchmark pope --data '" +
                                     data() + "' --template vicuna_v1 --max-new-tokens 3 --scheme " + scheme +
                                     " --output '" + folder.path(scheme) + "'");
      EXPECT_EQ(run.exit_code, 0) << run.err;
    }
  }
  std::string data() const { return folder.path("items.jsonl"); }
  std::string model() const { return folder.path("llava"); }
  CommandResult report(const std::string& flags) const {
    return run_ropescope("report --quiet --results '" + folder.path("vanilla") + "' '" +
                         folder.path("id-align") + "' --output '" + folder.path("page.html") + "' --force " +
                         flags);
  }
  /// The page's own JSON.
  Json page() const {
    const std::string text = read_file(folder.path("page.html")), begin = "id=\"report\">";
    const size_t from = text.find(begin) + begin.size();
    return parse_json(text.substr(from, text.find("</script>", from) - from), "page");
  }
  TemporaryFolder folder;
};

/// Runs the checks of report_page.py; false where there is no browser.
bool browse(const std::string& page) { return run_python("cli/report_page.py", "'" + page + "'"); }

TEST(ReportPage, AttentionMapsAreThoseOfTheAttentionCommand) {
  const Runs runs;
  const auto report =
      runs.report("--data '" + runs.data() + "' --model '" + runs.model() + "' --map-records 1,3");
  ASSERT_EQ(report.exit_code, 0) << report.err;
  const Json page = runs.page();
  const Json& items = page.at("sets").at(0).at("items");
  ASSERT_EQ(items.size(), 6u);
  EXPECT_FALSE(items[1].at("answers").at(0).contains("maps"));
  EXPECT_EQ(items[0].at("answers").at(1).at("maps").size(), 2u);  // thumbnail and high resolution
  EXPECT_THAT(items[3].at("note"), HasSubstr("missing.png"));
  EXPECT_EQ(items[3].at("answers").at(0).count("error"), 1u);
  // The same question through `ropescope attention`.
  const auto attention = run_ropescope("attention --quiet --json --model '" + runs.model() + "' --image '" +
                                       runs.folder.path("exif_48x33.jpg") +
                                       "' --template vicuna_v1 --queries last --schemes 'vanilla;id-align' "
                                       "--prompt 'Is there thing number 0?\n" +
                                       "Answer the question using a single word or phrase.' --output '" +
                                       runs.folder.path("a.h5") + "'");
  ASSERT_EQ(attention.exit_code, 0) << attention.err;
  const Json measured = parse_json(attention.out, "attention");
  for (size_t scheme = 0; scheme < 2; ++scheme) {
    const Json& measures = measured.at("schemes").at(scheme).at("measures");
    const Json& maps = items[0].at("answers").at(scheme).at("maps");
    const auto share = [&](const char* name) {
      return fmt::format(": {:.2f} % of the attention;", 100 * measures.at(name).at("mean").get<double>());
    };
    EXPECT_THAT(maps[0].at("caption"), HasSubstr("thumbnail"));
    EXPECT_THAT(maps[0].at("caption"), HasSubstr(share("thumbnail_share")));
    EXPECT_THAT(maps[1].at("caption"), HasSubstr("high resolution"));
    EXPECT_THAT(maps[1].at("caption"), HasSubstr(share("high_res_share")));
  }
  EXPECT_NE(items[0].at("answers").at(0).at("maps"), items[0].at("answers").at(1).at("maps"));
}

TEST(ReportPage, WorksInABrowser) {
  const Runs runs;
  const std::string flags = "--data '" + runs.data() + "' --model '" + runs.model() + "' --maps 2";
  const auto report = runs.report(flags);
  ASSERT_EQ(report.exit_code, 0) << report.err;
  if (!browse(runs.folder.path("page.html"))) GTEST_SKIP() << "no Chromium with its driver and selenium";
}

TEST(ReportPage, ThousandsOfItemsStayUsable) {
  const TemporaryFolder folder;
  constexpr int kItems = 5000;
  for (const std::string scheme : {"vanilla", "id-align"}) {
    std::filesystem::create_directories(folder.path(scheme));
    std::ofstream samples(folder.path(scheme + "/samples.jsonl"));
    for (int i = 1; i <= kItems; ++i) {
      const bool right = i % (scheme == "vanilla" ? 3 : 7) != 0;
      const std::string question = "Is item " + std::to_string(i) + " of the long list in the picture?";
      samples << Json{{"record", i},          {"doc", {{"question", question}, {"answer", "yes"}}},
                      {"prompt", question},   {"output", right ? "yes" : "no"},
                      {"extracted", nullptr}, {"score", right ? 1 : 0}}
                     .dump()
              << "\n";
    }
    const Json summary = {{"benchmark", "pope"}, {"model", "m"},
                          {"scheme", scheme},    {"data_sha256", "x"},
                          {"items", kItems},     {"aggregates", {{"all", {{"accuracy", 0.5}}}}}};
    std::ofstream(folder.path(scheme + "/summary.json")) << summary.dump();
  }
  const auto report =
      run_ropescope("report --quiet --most-items 5000 --results '" + folder.path("vanilla") + "' '" +
                    folder.path("id-align") + "' --output '" + folder.path("page.html") + "'");
  ASSERT_EQ(report.exit_code, 0) << report.err;
  EXPECT_LT(std::filesystem::file_size(folder.path("page.html")), size_t{4} << 20);
  if (!browse(folder.path("page.html"))) GTEST_SKIP() << "no Chromium with its driver and selenium";
}

TEST(ReportPage, FlagsThatDoNotFit) {
  const Runs runs;
  const std::string data = " --data '" + runs.data() + "'", model = " --model '" + runs.model() + "'";
  EXPECT_EQ(runs.report("--maps 1" + data).exit_code, 2);                 // no model
  EXPECT_EQ(runs.report(model + data).exit_code, 2);                      // no maps
  EXPECT_EQ(runs.report("--maps 1" + model).exit_code, 2);                // no pictures
  EXPECT_EQ(runs.report("--map-records 4" + model + data).exit_code, 2);  // its picture is missing
  EXPECT_EQ(runs.report("--maps 1" + model + model + model + data).exit_code, 2);
  EXPECT_EQ(runs.report("--maps 1 --model '" + runs.folder.path("other") + "'" + data).exit_code, 2);
  EXPECT_EQ(runs.report("--data '" + runs.folder.path("exif_48x33.jpg") + "'").exit_code, 2);
  EXPECT_EQ(run_ropescope("report --results '" + runs.folder.path("vanilla") + "' --output '" +
                          runs.folder.path("r.md") + "'" + data)
                .exit_code,
            2);
}

}  // namespace
}  // namespace ropescope
