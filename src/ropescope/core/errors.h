// Errors that ropescope throws. Libraries throw and never print, abort or exit; apps/main.cpp turns an error
// into one sentence on stderr and the exit code of its kind. Form of a message: "<file or flag or tensor>:
// expected <x>, found <y>", ending with what to try where that is known.
#pragma once

#include <stdexcept>
#include <string>

#include <fmt/format.h>

namespace ropescope {

/// Base of all our errors. `exit_code()` is what the executable returns.
class Error : public std::runtime_error {
 public:
  Error(const std::string& message, int exit_code) : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const noexcept { return exit_code_; }

 private:
  int exit_code_;
};

/// A flag or an option's value is wrong (exit 2).
class UsageError : public Error {
 public:
  template <typename... Args>
  explicit UsageError(fmt::format_string<Args...> format, Args&&... args)
      : Error(fmt::format(format, std::forward<Args>(args)...), 2) {}
};

/// A file's content is wrong (exit 3).
class InputError : public Error {
 public:
  template <typename... Args>
  explicit InputError(fmt::format_string<Args...> format, Args&&... args)
      : Error(fmt::format(format, std::forward<Args>(args)...), 3) {}
};

/// The machine lacks something: a device, memory, disk space, an external program (exit 4).
class EnvironmentError : public Error {
 public:
  template <typename... Args>
  explicit EnvironmentError(fmt::format_string<Args...> format, Args&&... args)
      : Error(fmt::format(format, std::forward<Args>(args)...), 4) {}
};

/// A computation gave non-finite numbers or diverged (exit 5).
class NumericsError : public Error {
 public:
  template <typename... Args>
  explicit NumericsError(fmt::format_string<Args...> format, Args&&... args)
      : Error(fmt::format(format, std::forward<Args>(args)...), 5) {}
};

/// A fault of ropescope itself (exit 1).
class InternalError : public Error {
 public:
  template <typename... Args>
  explicit InternalError(fmt::format_string<Args...> format, Args&&... args)
      : Error(fmt::format(format, std::forward<Args>(args)...), 1) {}
};

}  // namespace ropescope
