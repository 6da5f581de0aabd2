"""What a release is made with: the audit, the bill of materials, the table of licences, the build."""
