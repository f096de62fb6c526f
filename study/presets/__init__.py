"""Study files that come with batchgap: quickstart, and one per question of the literature."""
