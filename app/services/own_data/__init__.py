"""A user's own data: all of it in one archive, all of it erased, old conversations removed by age, legal holds."""
