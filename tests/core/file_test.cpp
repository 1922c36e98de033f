// Files: maps, hashes, and output that appears only when it is complete.
#include "ropescope/core/file.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "ropescope/core/errors.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

void write_text(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST(File, Sha256OfKnownTexts) {
  const testing::TemporaryFolder folder;
  write_text(folder.path("empty"), "");
  write_text(folder.path("abc"), "abc");
  EXPECT_EQ(sha256_of_file(folder.path("empty")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_of_file(folder.path("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(File, MapsContentAndEmptyFiles) {
  const testing::TemporaryFolder folder;
  write_text(folder.path("a"), "hello");
  write_text(folder.path("empty"), "");
  const MappedFile mapped(folder.path("a"));
  ASSERT_EQ(mapped.bytes().size(), 5U);
  EXPECT_EQ(static_cast<char>(mapped.bytes()[4]), 'o');
  EXPECT_TRUE(MappedFile(folder.path("empty")).bytes().empty());
  EXPECT_THROW(MappedFile(folder.path("absent")), InputError);
  EXPECT_THROW(MappedFile(folder.path(".")), InputError);
}

TEST(File, ReadFileRespectsItsLimit) {
  const testing::TemporaryFolder folder;
  write_text(folder.path("a"), "hello");
  EXPECT_EQ(read_file(folder.path("a")), "hello");
  EXPECT_THROW(read_file(folder.path("a"), 4), InputError);
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const testing::TemporaryFolder folder;
  const std::string target = folder.path("out/result.h5");
  {
    const AtomicFile file(target, false);
    write_text(file.temporary_path(), "half");
    EXPECT_FALSE(std::filesystem::exists(target));
  }
  EXPECT_FALSE(std::filesystem::exists(folder.path("out")));
  {
    AtomicFile file(target, false);
    write_text(file.temporary_path(), "whole");
    file.commit();
  }
  EXPECT_EQ(read_file(target), "whole");
  EXPECT_THROW(AtomicFile(target, false), UsageError);
  EXPECT_NO_THROW(AtomicFile(target, true));
  EXPECT_EQ(read_file(target), "whole") << "a run that fails leaves the old file alone";
}

}  // namespace
}  // namespace ropescope
