"""Study files that come with batchgap: quickstart, and one per table or figure of the literature."""
