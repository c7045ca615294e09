#pragma once
// The page around a report: one file with style and script inside, nothing from elsewhere. It is HTML and well-formed
// XML at once.

#include <string>
#include <string_view>
#include <vector>

namespace mara::report {

/// Text as it may stand between tags and in quoted attributes. Control characters become their pictures (U+2400...),
/// bytes that are not UTF-8 become U+FFFD.
std::string escape(std::string_view text);

/// YAML with its keys marked.
std::string marked_yaml(std::string_view text);

/// A table; cells and headings are HTML already. The first column holds row headings.
std::string table(const std::vector<std::string>& headings, const std::vector<std::vector<std::string>>& rows);

/// A section that opens and closes; `body` is HTML already.
std::string folding(const std::string& title, const std::string& body, bool open);

/// The whole file; `body` is HTML already.
std::string page(const std::string& title, const std::string& body);

}  // namespace mara::report
