// `ropescope report` on runs of `ropescope evaluate`.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/file.h"

#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

TEST(ReportCommand, TwoSchemesBesideThePaper) {
  const TemporaryFolder folder;
  write_tiny_llava(folder.path(""));
  std::ofstream items(folder.path("items.jsonl"));
  for (int i = 0; i < 4; ++i) {
    items << Json{{"question", "Is it " + std::to_string(i) + "?"}, {"answer", i % 2 == 0 ? "yes" : "no"}}
                 .dump()
          << "\n";
  }
  items.close();
  for (const std::string scheme : {"vanilla", "id-align"}) {
    const auto run =
        run_ropescope("evaluate --quiet --model '" + folder.path("") + "' --benchmark pope --data '" +
                      folder.path("items.jsonl") + "' --max-new-tokens 2 --scheme " + scheme + " --output '" +
                      folder.path(scheme) + "'");
    ASSERT_EQ(run.exit_code, 0) << run.err;
  }
  for (const std::string form : {"md", "csv", "html"}) {
    const std::string file = folder.path("report." + form);
    const auto report = run_ropescope("report --results '" + folder.path("vanilla") + "' '" +
                                      folder.path("id-align") + "' --tables 001:1 --output '" + file + "'");
    ASSERT_EQ(report.exit_code, 0) << report.err;
    const std::string text = read_file(file);
    EXPECT_THAT(text, HasSubstr("POPE@ACC"));
    EXPECT_THAT(text, HasSubstr("87.97"));
    EXPECT_THAT(text, HasSubstr("test split"));
  }
  EXPECT_THAT(read_file(folder.path("report.md")), HasSubstr("| pope | vanilla | id-align |"));
  EXPECT_THAT(read_file(folder.path("report.md")), HasSubstr("| paper | – | POPE"));
  const auto plot = run_ropescope("report --results '" + folder.path("vanilla") + "' --output '" +
                                  folder.path("r.md") + "' --plot '" + folder.path("r.png") + "'");
  ASSERT_EQ(plot.exit_code, 0) << plot.err;
  EXPECT_EQ(read_file(folder.path("r.png")).substr(1, 3), "PNG");
  EXPECT_THAT(read_file(folder.path("report.html")), HasSubstr("\"001:1\":\"data:image/svg+xml;base64,"));
  const std::string results =
      "report --results '" + folder.path("vanilla") + "' --output '" + folder.path("x");
  EXPECT_EQ(run_ropescope(results + ".pdf'").exit_code, 2);
  EXPECT_EQ(run_ropescope(results + ".md' --tables 7:7").exit_code, 2);
  EXPECT_EQ(
      run_ropescope("report --results '" + folder.path("nothing") + "' --output '" + folder.path("x.md'"))
          .exit_code,
      3);
}

}  // namespace
}  // namespace ropescope
